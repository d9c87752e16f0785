/** The receiver: filter, and the ring of pages in the chip's own memory. */
import { ETH_ALEN, ETH_ZLEN, multicastHash } from '../ethernet.ts';
import type { ReceiveResult } from '../../interfaces.ts';
import {
  CMD_STOP,
  ISR_RX,
  R,
  RSR_PHY,
  RSR_RXOK,
  RXCR_BROADCAST,
  RXCR_MULTICAST,
  RXCR_PROMISCUOUS,
  W,
  type ChipPort,
} from './port.ts';
import { PMEM_END } from './state.ts';

/** Free bytes below which the chip takes no frame: the longest Ethernet frame with its CRC. */
const ROOM_NEEDED = 1518;
/** Status, next page and length before each frame; the length counts them. */
const HEADER_SIZE = 4;
const CRC_SIZE = 4;
const PAGE = 256;

/** Bytes of whole pages that a frame of `size` bytes takes. */
const bytesInRing = (size: number): number => Math.ceil((size + HEADER_SIZE + CRC_SIZE) / PAGE) * PAGE;

export class Receiver {
  private readonly chip: ChipPort;
  private readonly short = new Uint8Array(ETH_ZLEN);

  constructor(chip: ChipPort) {
    this.chip = chip;
  }

  /** First byte of the ring and the byte behind it. */
  private get start(): number {
    return this.chip.regs.values[W.EN0_STARTPG]! * PAGE;
  }

  private get stop(): number {
    return this.chip.regs.values[W.EN0_STOPPG]! * PAGE;
  }

  /** Free bytes of the ring; a ring whose CURR is its BNRY counts as empty. 0: there is no ring. */
  private room(): number {
    const { values } = this.chip.regs;
    const size = this.stop - this.start;
    if (size <= 0) return 0;
    const ahead = (values[R.EN0_BOUNDARY]! - values[R.EN1_CURPAG]!) * PAGE;
    return ahead > 0 ? ahead : size + ahead;
  }

  /** Would this frame move CURR to BNRY or past it, so that a full ring looks like an empty one and the next frame overwrites it? */
  private wouldOverrun(length: number, room: number): boolean {
    return room < this.stop - this.start && bytesInRing(Math.max(length, ETH_ZLEN)) >= room;
  }

  /** Does the ring hold frames that the driver has not read? A driver keeps BNRY one page behind what it reads next. */
  hasUnread(): boolean {
    const { values } = this.chip.regs;
    const start = values[W.EN0_STARTPG]!;
    const stop = values[W.EN0_STOPPG]!;
    if (values[R.E8390_CMD]! & CMD_STOP || stop <= start) return false;
    const next = values[R.EN0_BOUNDARY]! + 1;
    return (next >= stop ? start : next) !== values[R.EN1_CURPAG];
  }

  /** Takes a frame, bytes 0 … length-1, link up and length checked. `canWait`: see NetDevice. */
  receive(frame: Uint8Array, length: number, canWait: boolean): ReceiveResult {
    const {
      regs: { values },
      state,
    } = this.chip;
    if (values[R.E8390_CMD]! & CMD_STOP) {
      state.rxFiltered++;
      return 'dropped';
    }
    const room = this.room();
    const full = room < ROOM_NEEDED;
    if (!full && !this.accepts(frame)) {
      state.rxFiltered++;
      return 'dropped';
    }
    if (full) {
      if (canWait && this.stop - this.start >= ROOM_NEEDED && this.accepts(frame)) return 'refused';
      state.rxNoRoom++;
      return 'dropped';
    }
    if (canWait && this.wouldOverrun(length, room)) return 'refused';
    if (length < ETH_ZLEN) {
      for (let i = 0; i < ETH_ZLEN; i++) this.short[i] = i < length ? frame[i]! : 0;
      this.store(this.short, ETH_ZLEN);
    } else {
      this.store(frame, length);
    }
    state.rxPackets++;
    state.rxBytes += length;
    this.chip.interrupt(ISR_RX);
    return 'accepted';
  }

  /**
   * Does the filter take the frame? As in QEMU the station address is that of the PROM, and of a frame too short for an
   * address the bytes behind it in the wire's buffer are looked at.
   */
  private accepts(frame: Uint8Array): boolean {
    const {
      regs: { values },
      state: { mem },
    } = this.chip;
    const config = values[W.EN0_RXCR]!;
    if (config & RXCR_PROMISCUOUS) return true;
    let broadcast = true;
    for (let i = 0; i < ETH_ALEN; i++) broadcast &&= frame[i] === 0xff;
    if (broadcast) return (config & RXCR_BROADCAST) !== 0;
    if (frame[0]! & 1) {
      if (!(config & RXCR_MULTICAST)) return false;
      const hash = multicastHash(frame);
      return (values[R.EN1_MULT0 + (hash >> 3)]! & (1 << (hash & 7))) !== 0;
    }
    for (let i = 0; i < ETH_ALEN; i++) if (mem[2 * i] !== frame[i]) return false;
    return true;
  }

  /** Header and frame into the ring, from CURR on; CURR moves behind them. */
  private store(data: Uint8Array, size: number): void {
    const {
      regs: { values },
      state,
    } = this.chip;
    const { mem } = state;
    const { start, stop } = this;
    let at = values[R.EN1_CURPAG]! * PAGE;
    if (at >= PMEM_END) at = start;
    const total = size + HEADER_SIZE;
    let next = at + bytesInRing(size);
    if (next >= stop) next -= stop - start;
    state.rsr = RSR_RXOK | (data[0]! & 1 ? RSR_PHY : 0);
    mem[at] = state.rsr;
    mem[at + 1] = next >> 8;
    mem[at + 2] = total;
    mem[at + 3] = total >> 8;
    at += HEADER_SIZE;
    if (at < stop) {
      for (let done = 0; done < size; done++) {
        mem[at++] = data[done]!;
        if (at === stop) at = start;
      }
    }
    values[R.EN1_CURPAG] = (next >> 8) & 0xff;
  }
}
