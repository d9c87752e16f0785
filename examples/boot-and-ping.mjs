// Boots the guest that comes with the library and prints its console while it pings the host three times.
import { Machine, tinyGuest } from 'xenolith';

const machine = new Machine({ ...tinyGuest({ mode: 'ping', count: 3 }), nics: [{ model: 'rtl8139' }] });
machine.on('console', (bytes) => process.stdout.write(bytes));
await machine.run();
const end = await machine.ended;
console.log(`${end.text} after ${(end.ns / 1e6).toFixed(1)} ms of its own time`);
