// Preloaded (`node -r`) before a sample that listens on a port of its own: binds a free port of
// loopback instead and prints it, so that samples run as they stand, many at once.
'use strict';
const net = require('node:net');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  this.once('listening', () => console.log(JSON.stringify({ port: this.address().port })));
  return listen.call(this, 0, '127.0.0.1', ...args.filter((arg) => typeof arg === 'function'));
};
