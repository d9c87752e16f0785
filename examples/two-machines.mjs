// Two machines on one hub: one is 10.0.2.2 and answers, the other pings it.
import { Hub, Machine, tinyGuest } from 'xenolith';

const hub = new Hub();
const machineOn = (guest, mac) => new Machine({ ...guest, clock: 'host', nics: [{ model: 'rtl8139', mac, network: hub }] });
const server = machineOn(tinyGuest({ mode: 'answer', count: 3 }), '00:16:3e:00:00:02');
const client = machineOn(tinyGuest({ mode: 'ping', count: 3 }), '00:16:3e:00:00:03');

await server.run();
await server.waitFor('answers echo requests');
await client.run();
await client.waitFor('3 packets transmitted, 3 packets received');
await server.waitFor('3 echo requests answered');
await Promise.all([server.ended, client.ended]);
console.log(client.console);
