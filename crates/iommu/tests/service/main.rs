//! The account over sockets: each asks for his own and nothing else, whoever dies is tidied up after, and
//! whatever bytes come are answered or end the connection.

mod deaths;
mod kit;
mod lists;
mod nonsense;
