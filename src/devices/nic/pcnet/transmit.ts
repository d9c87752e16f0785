/** The transmitter: gathers descriptors from STP to ENP and sends, or loops. */
import { Descriptor } from './descriptor.ts';
import {
  CSR0_CERR,
  CSR0_ERR,
  CSR0_TDMD,
  CSR0_TINT,
  CSR0_TXON,
  CSR3_DXSUFLO,
  CSR4_TXSTRTM,
  CSR5_LTINTEN,
  CSR5_TOKINTD,
  ENP,
  ERR,
  getPair,
  MC_TMAULOOP,
  MODE_INTL,
  MODE_LOOP,
  OWN,
  physical,
  R,
  STP,
  SWS_STYLE,
  TMD2_BUFF,
  TMD2_LCAR,
  TMD2_UFLO,
  TMD_ADD_FCS,
  TMD_LTINT,
  type ChipPort,
} from './port.ts';
import type { Receiver } from './receive.ts';
import { advance, type Rings } from './rings.ts';
import { BUFFER_SIZE, FCS_SIZE } from './state.ts';

/**
 * Descriptors read after which a walk goes no further: a ring of 65,535 descriptors whose frames loop into a ring of as many
 * would keep the chip busy for minutes. The largest rings of an initialization block, 512 descriptors, need a tenth of it.
 */
const MOST_DESCRIPTOR_READS = 65_536;
/** SWSTYLE of the ILACC, whose bit says NO_FCS where the others' says ADD_FCS. */
const STYLE_ILACC = 1;

export class Transmitter {
  private readonly chip: ChipPort;
  private readonly rings: Rings;
  private readonly receiver: Receiver;
  private readonly send: (length: number) => void;
  private readonly tmd: Descriptor;
  /** In a walk: a frame that loops back must not start another. */
  busy = false;
  /** Bytes gathered of the frame under way, or -1. */
  private position = -1;
  private addFcs = false;

  /** @param send puts bytes 0 … length-1 of the chip's buffer on the wire */
  constructor(chip: ChipPort, rings: Rings, receiver: Receiver, send: (length: number) => void) {
    this.chip = chip;
    this.rings = rings;
    this.receiver = receiver;
    this.send = send;
    this.tmd = new Descriptor(chip, 'transmit');
  }

  /** Walks the transmit ring from the current descriptor on, once round at most. */
  transmit(): void {
    const { chip, rings, tmd } = this;
    const {
      regs: { values },
      state,
    } = chip;
    this.position = -1;
    if (!(values[R.CSR0]! & CSR0_TXON)) {
      values[R.CSR0]! &= ~CSR0_TDMD;
      return;
    }
    this.busy = true;
    this.addFcs = false;
    let first = 0;
    for (let count = values[R.CSR78]!; count > 0 && chip.descriptorReads < MOST_DESCRIPTOR_READS; count--) {
      if (!rings.pollTransmit()) {
        if (this.position < 0) break;
        tmd.load(first);
        tmd.misc = (tmd.misc | TMD2_BUFF | TMD2_UFLO) >>> 0;
        tmd.status = (tmd.status | ERR) & ~OWN;
        tmd.store(first);
        state.txErrors++;
        values[R.CSR0]! |= CSR0_TINT;
        if (values[R.CSR3]! & CSR3_DXSUFLO) continue;
        values[R.CSR0]! &= ~CSR0_TXON;
        break;
      }
      const at = physical(values, getPair(values, R.CSR34));
      tmd.load(at);
      if (tmd.status & STP) {
        this.position = 0;
        first = at;
        if ((values[R.BCR20]! & SWS_STYLE) !== STYLE_ILACC) this.addFcs = (tmd.status & TMD_ADD_FCS) !== 0;
      }
      this.descriptor();
      tmd.status &= ~OWN;
      tmd.store(physical(values, getPair(values, R.CSR34)));
      if (!(values[R.CSR5]! & CSR5_TOKINTD) || (values[R.CSR5]! & CSR5_LTINTEN && tmd.status & TMD_LTINT))
        values[R.CSR0]! |= CSR0_TINT;
      advance(values, R.CSR74, R.CSR78);
    }
    this.busy = false;
  }

  /** What one descriptor adds to the frame; with the last, the frame leaves. */
  private descriptor(): void {
    const { chip, tmd } = this;
    const {
      regs: { values },
      state,
    } = chip;
    if (!state.linkUp && !this.loopsWithoutLink()) {
      tmd.misc = (tmd.misc | TMD2_LCAR) >>> 0;
      tmd.status |= ERR;
      values[R.CSR0]! |= CSR0_ERR | CSR0_CERR;
      if (this.position >= 0) state.txErrors++;
      this.position = -1;
      return;
    }
    // A descriptor without a start before it is given back, and that is all.
    if (this.position < 0) return;
    const count = tmd.bufferSize;
    if (this.position + count > BUFFER_SIZE - FCS_SIZE) {
      state.txErrors++;
      this.position = -1;
      return;
    }
    chip.dmaRead(physical(values, tmd.buffer), state.buffer, this.position, count);
    this.position += count;
    if (!(tmd.status & ENP)) return;
    if (values[R.CSR15]! & MODE_LOOP) {
      if ((values[R.BCR20]! & SWS_STYLE) === STYLE_ILACC) this.addFcs = !(tmd.status & TMD_ADD_FCS);
      this.receiver.receive(state.buffer, this.position, this.addFcs ? 'loop with FCS' : 'loop without FCS', false);
    } else {
      this.send(this.position);
    }
    values[R.CSR0]! &= ~CSR0_TDMD;
    values[R.CSR4]! |= CSR4_TXSTRTM;
    this.position = -1;
  }

  /** Loopback inside the chip does without a link. */
  private loopsWithoutLink(): boolean {
    const { values } = this.chip.regs;
    const mode = values[R.CSR15]!;
    return (mode & MODE_LOOP) !== 0 && ((mode & MODE_INTL) !== 0 || (values[R.BCR2]! & MC_TMAULOOP) !== 0);
  }
}
