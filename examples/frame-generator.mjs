// Sends echo requests to a guest from outside, one behind the other, and counts what comes back.
import { Machine, tinyGuest } from 'xenolith';

const REQUESTS = 20;
const GUEST = { mac: [0x00, 0x16, 0x3e, 0, 0, 1], ip: [10, 0, 2, 2] };
const PEER = { mac: [0x02, 0, 0, 0, 0, 1], ip: [10, 0, 2, 99] };

/** Internet checksum of a stretch of bytes. */
function checksum(bytes, from, to) {
  let sum = 0;
  for (let i = from; i < to; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function echoRequest(sequence) {
  const frame = new Uint8Array(98);
  const view = new DataView(frame.buffer);
  frame.set([...GUEST.mac, ...PEER.mac, 0x08, 0x00]);
  frame.set([0x45, 0, 0, 84, 0, 0, 0, 0, 64, 1, 0, 0, ...PEER.ip, ...GUEST.ip], 14);
  view.setUint16(24, checksum(frame, 14, 34));
  view.setUint8(34, 8);
  view.setUint16(40, sequence);
  view.setUint16(36, checksum(frame, 34, 98));
  return frame;
}

const machine = new Machine({
  ...tinyGuest({ mode: 'answer', count: REQUESTS }),
  nics: [{ model: 'rtl8139', mac: '00:16:3e:00:00:01', network: 'none' }],
});
let answers = 0;
machine.on('frame', ({ direction, bytes }) => {
  if (direction !== 'out' || bytes[34] !== 0) return;
  answers++;
  if (answers < REQUESTS) void machine.injectFrame(echoRequest(answers));
});
await machine.run();
await machine.waitFor('answers echo requests');
await machine.injectFrame(echoRequest(0));
await machine.ended;
console.log(`${REQUESTS} requests sent, ${answers} answers came back`);
