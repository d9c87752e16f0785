// Reads an xentrace file: of a Xen host where one is named, else of a machine that is run for it.
import { Machine, tinyGuest } from 'xenolith';
import { openTrace } from 'xenolith/trace';

async function traceOfAMachine() {
  const machine = new Machine({ ...tinyGuest(), records: { trace: true } });
  await machine.run();
  await machine.ended;
  return (await machine.records()).trace;
}

const trace = await openTrace(process.argv[2] ?? (await traceOfAMachine()), { cpuHz: 1e9 });
const exits = new Map();
for await (const { decoded } of trace) {
  if (decoded.kind === 'vmexit') exits.set(decoded.reasonName, (exits.get(decoded.reasonName) ?? 0) + 1);
}
await trace.close();
for (const [reason, count] of [...exits].sort((a, b) => b[1] - a[1])) console.log(`${String(count).padStart(8)} ${reason}`);
