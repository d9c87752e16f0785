// The story of a packet as JSON: every step with its time, who acts, and the records it rests on.
import { Machine, tinyGuest } from 'xenolith';

const machine = new Machine({ ...tinyGuest(), records: { trace: true, log: true, capture: true } });
await machine.run();
await machine.ended;
const [story] = await machine.stories(3);
const { title, hops, addresses } = story;
const withoutBigints = (_key, value) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value);
console.log(JSON.stringify({ title, hops, addresses }, withoutBigints, 2));
