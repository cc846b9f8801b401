//! A client for Tencent Cloud Block Storage.
