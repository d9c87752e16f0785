/** Before the specs: says what machine they run on and what they will lack. */
import { loadavg } from 'node:os';
import { processorName } from './cpu/processor.ts';
import { lackOf, type Need, needs } from './needs.ts';

export default async function setup(): Promise<void> {
  if (process.argv.includes('-t')) return;
  const lacking: string[] = [];
  for (const need of needs as readonly Need[]) {
    const { reason } = await lackOf(need);
    if (reason) lacking.push(reason);
  }
  console.log(
    `Tests on ${processorName()}, Node ${process.versions.node}, load ${loadavg()[0]!.toFixed(1)}; lacking: ${lacking.join('; ') || 'nothing'}`,
  );
}
