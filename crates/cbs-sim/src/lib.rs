//! A stand-in for the API of Tencent Cloud Block Storage.
