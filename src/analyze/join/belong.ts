import type { DmLog } from '../sources/dm-log.ts';
import type { ClockAlignment } from './clock.ts';
import { consoleWindows, contradicted } from './devices.ts';
import type { IoAccess } from './io.ts';
import type { Pairing } from './pair.ts';

/** Of the accesses between the first pair and the last, at addresses that the log knows, so many must pair. */
const LEAST_SHARE = 0.5;
/** Pairs by chance: two runs of one guest share what every boot does. Fewer accesses than this are not judged by their share. */
const FEW = 8;

/**
 * Why a log is not of the same run as a trace; undefined where nothing speaks against it. Two runs share much of what a guest
 * does, so that many accesses pair: but not the times between, and not all of them.
 */
export function belonging(
  accesses: readonly IoAccess[],
  pairing: Pairing,
  log: DmLog,
  clock: ClockAlignment | undefined,
): string | undefined {
  if (pairing.pairs === 0) return 'none of its requests pairs with an access';
  if (clock !== undefined && !clock.consistent)
    return `by ${clock.pairsUsed} pairs of equal accesses the two clocks contradict each other by up to ${(clock.errorUs / 1000).toFixed(1)} ms`;
  let first = -1;
  let last = -1;
  let paired = 0;
  accesses.forEach((_, i) => {
    if (pairing.requestOf[i] === undefined) return;
    if (first < 0) first = i;
    last = i;
    paired++;
  });
  const logged = new Set(log.requests.map((r) => `${r.request.type === 0 ? 'pio' : 'mmio'} ${r.request.addr}`));
  let known = 0;
  for (let i = first; i <= last; i++) {
    const a = accesses[i]!;
    if (a.lost === undefined && a.data !== undefined && logged.has(`${a.space} ${a.addr}`)) known++;
  }
  if (known >= FEW && paired < known * LEAST_SHARE)
    return `only ${paired} of ${known} accesses at addresses that it holds pair with its requests`;
  return undefined;
}

/** Why a console is not this guest's; undefined where nothing speaks against it. */
export function consoleBelongs(
  lines: readonly string[],
  accesses: readonly IoAccess[],
  log: DmLog | undefined,
): string | undefined {
  for (const w of consoleWindows(lines)) {
    if (contradicted(w, [], log))
      return `it puts the ${w.chip.title} at 0x${w.base.toString(16)}, where the log has another device`;
    const own = accesses.filter((a) => a.space === w.space && a.addr >= w.base && a.addr < w.base + w.block.size);
    const known = own.filter((a) => w.chip.registerAt(w.block, a.addr - w.base, undefined) !== undefined);
    if (own.length >= FEW && known.length < own.length * LEAST_SHARE)
      return `it puts the ${w.chip.title} at 0x${w.base.toString(16)}, and ${own.length - known.length} of ${own.length} accesses there touch no register of it`;
  }
  return undefined;
}
