// What somebody would write with node-cron and the vendor's SDK: a resident process, one task a disk.
//
// `node_cron_peer.mjs ENDPOINT DISKS DUE OVER`: due at DUE, in seconds since the epoch, spread over so many seconds. Says
// `ready` once all tasks are scheduled, and `done` once each was answered; then it waits to be killed. Calls keep their
// connections, and twenty are under way at once.

import { createRequire } from "node:module";
import { Agent } from "node:http";
import cron from "node-cron";

// Of all of the vendor's services, this one alone is loaded.
const { cbs } = createRequire(import.meta.url)("tencentcloud-sdk-nodejs/tencentcloud/services/cbs");

const [endpoint, disks, due, over] = process.argv.slice(2);

// The SDK signs for the service that the host's name begins with: it keeps the vendor's, and goes to the simulator.
class ToSimulator extends Agent {
  createConnection(options, connected) {
    const { hostname: host, port } = new URL(endpoint);
    return super.createConnection({ ...options, host, port }, connected);
  }
}

const client = new cbs.v20170312.Client({
  credential: { secretId: "AKIDbench", secretKey: "the-secret-key" },
  region: "ap-guangzhou",
  profile: {
    httpProfile: {
      protocol: "http://",
      endpoint: "cbs.ap-guangzhou.tencentcloudapi.com",
      agent: new ToSimulator({ keepAlive: true, maxSockets: 20 }),
    },
  },
});

let answered = 0;
async function create(disk) {
  await client.CreateDiskBackup({ DiskId: disk, DiskBackupName: "nightly" });
  answered += 1;
  if (answered === Number(disks)) console.log("done");
}

for (let number = 0; number < Number(disks); number += 1) {
  const at = new Date((Number(due) + (number % Number(over))) * 1000);
  const when = `${at.getUTCSeconds()} ${at.getUTCMinutes()} ${at.getUTCHours()} * * *`;
  const disk = `disk-${number.toString(16).padStart(8, "0")}`;
  cron.schedule(when, () => create(disk), { timezone: "UTC" });
}
console.log("ready");
