/** The initialization block in guest memory: mode, addresses and rings, in two layouts. */
import type { DebugLog } from '../../interfaces.ts';
import { chip as id, lines } from './log.ts';
import { CSR0_IDON, CSR0_INIT, CSR0_STOP, getPair, MOST_DESCRIPTORS, physical, R, SWS_SSIZE32, type ChipPort } from './port.ts';

/** Where things lie in a block of 16-bit and of 32-bit words. */
const LAYOUT16 = { bytes: 24, padr: 2, ladrf: 8, rdra: 16, tdra: 20 } as const;
const LAYOUT32 = { bytes: 28, padr: 4, ladrf: 12, rdra: 20, tdra: 24 } as const;
const RLEN = 2;
const TLEN = 3;
/** In the shorter block the ring length stands above 24 bits of address. */
const LENGTH_SHIFT = 29;
const ADDRESS16 = 0xff_ffff;

const view = new DataView(new ArrayBuffer(LAYOUT32.bytes));
const block = new Uint8Array(view.buffer);

/** INIT: reads the block that CSR1 and CSR2 point to. */
export function initialize(chip: ChipPort, log: DebugLog | undefined): void {
  const { state } = chip;
  const { values } = chip.regs;
  const wide = (values[R.BCR20]! & SWS_SSIZE32) !== 0;
  const layout = wide ? LAYOUT32 : LAYOUT16;
  const at = physical(values, getPair(values, R.CSR1));
  if (log) log(lines.init, { chip: id, addr: at });
  chip.dmaRead(at, block, 0, layout.bytes);
  let rdra = view.getUint32(layout.rdra, true);
  let tdra = view.getUint32(layout.tdra, true);
  let rlen = block[RLEN]! >> 4;
  let tlen = block[TLEN]! >> 4;
  if (!wide) {
    rlen = rdra >>> LENGTH_SHIFT;
    tlen = tdra >>> LENGTH_SHIFT;
    rdra &= ADDRESS16;
    tdra &= ADDRESS16;
  }
  if (log) log(lines.lengths, { chip: id, rlen, tlen });
  values[R.CSR76] = Math.min(1 << rlen, MOST_DESCRIPTORS);
  values[R.CSR78] = Math.min(1 << tlen, MOST_DESCRIPTORS);
  values[R.CSR6] = (tlen << 12) | (rlen << 8);
  values[R.CSR15] = view.getUint16(0, true);
  for (let i = 0; i < 4; i++) values[R.CSR8 + i] = view.getUint16(layout.ladrf + 2 * i, true);
  for (let i = 0; i < 3; i++) values[R.CSR12 + i] = view.getUint16(layout.padr + 2 * i, true);
  state.rdra = physical(values, rdra);
  state.tdra = physical(values, tdra);
  values[R.CSR72] = values[R.CSR76]!;
  values[R.CSR74] = values[R.CSR78]!;
  if (log) {
    const { rdra, tdra } = state;
    log(lines.rings, { chip: id, ss32: Number(wide), rdra, rcvrl: values[R.CSR76]!, tdra, xmtrl: values[R.CSR78]! });
  }
  values[R.CSR0] = (values[R.CSR0]! | CSR0_INIT | CSR0_IDON) & ~CSR0_STOP;
}
