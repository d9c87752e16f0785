/** The receiver: filters, and up to three descriptors for a frame. */
import { crc32, ETH_ALEN, ETH_ZLEN } from '../ethernet.ts';
import type { ReceiveResult } from '../../interfaces.ts';
import { Descriptor } from './descriptor.ts';
import {
  CSR0_MISS,
  CSR0_RINT,
  CSR0_STOP,
  CSR5_SPND,
  ENP,
  ERR,
  getPair,
  MODE_DRCVBC,
  MODE_DRCVPA,
  MODE_DRX,
  MODE_DXMTFCS,
  MODE_LOOP,
  MODE_PROM,
  OWN,
  physical,
  R,
  RMD_BAM,
  RMD_BUFF,
  RMD_CRC,
  RMD_LAFM,
  RMD_OFLO,
  RMD_PAM,
  STP,
  type ChipPort,
} from './port.ts';
import { advance, type Rings } from './rings.ts';
import { BUFFER_SIZE, FCS_SIZE } from './state.ts';

/** Where a frame comes from: the wire, or the chip's own transmitter, with or without an FCS that the chip makes. */
export type Source = 'wire' | 'loop with FCS' | 'loop without FCS';

const MCNT = 0x0fff;
const MATCHES = RMD_PAM | RMD_LAFM | RMD_BAM;

export class Receiver {
  private readonly chip: ChipPort;
  private readonly rings: Rings;
  private readonly rmd: Descriptor;
  private readonly short = new Uint8Array(ETH_ZLEN);
  /** Of the frame under way: bytes of the buffer already stored, and still to store. */
  private done = 0;
  private left = 0;

  constructor(chip: ChipPort, rings: Rings) {
    this.chip = chip;
    this.rings = rings;
    this.rmd = new Descriptor(chip, 'receive');
  }

  /**
   * Takes a frame, bytes 0 … length-1; one that loops lies in the chip's buffer. `canWait`: see NetDevice.
   */
  receive(frame: Uint8Array, length: number, source: Source, canWait: boolean): ReceiveResult {
    const {
      regs: { values },
      state,
    } = this.chip;
    const mode = values[R.CSR15]!;
    if (
      mode & MODE_DRX ||
      values[R.CSR0]! & CSR0_STOP ||
      values[R.CSR5]! & CSR5_SPND ||
      length === 0 ||
      (mode & MODE_LOOP && source === 'wire')
    ) {
      state.rxFiltered++;
      return 'dropped';
    }
    let data = frame;
    let size = length;
    if (length < ETH_ZLEN) {
      data = this.short;
      for (let i = 0; i < ETH_ZLEN; i++) data[i] = i < length ? frame[i]! : 0;
      size = ETH_ZLEN;
    }
    let result: ReceiveResult = 'dropped';
    const match = this.match(data);
    if (match < 0) {
      state.rxFiltered++;
    } else if (this.findDescriptor()) {
      this.store(data, size, source, match);
      state.rxPackets++;
      state.rxBytes += length;
      result = 'accepted';
    } else {
      if (canWait && state.rdra !== 0) return 'refused';
      state.rxNoRoom++;
      values[R.CSR0]! |= CSR0_MISS;
      values[R.CSR112] = (values[R.CSR112]! + 1) & 0xffff;
    }
    this.chip.poll();
    this.chip.updateInterrupt();
    return result;
  }

  /** Which filter took the frame, as bits of RMD1; 0 in promiscuous mode; -1 when none did. */
  private match(frame: Uint8Array): number {
    const { values } = this.chip.regs;
    const mode = values[R.CSR15]!;
    if (mode & MODE_PROM) return 0;
    let own = true;
    let broadcast = true;
    for (let i = 0; i < ETH_ALEN; i++) {
      own &&= ((values[R.CSR12 + (i >> 1)]! >> ((i & 1) * 8)) & 0xff) === frame[i];
      broadcast &&= frame[i] === 0xff;
    }
    if (own && !(mode & MODE_DRCVPA)) return RMD_PAM;
    if (broadcast && !(mode & MODE_DRCVBC)) return RMD_BAM;
    if (!(frame[0]! & 1)) return -1;
    const hash = ~crc32(frame, ETH_ALEN) >>> 26;
    return values[R.CSR8 + (hash >> 4)]! & (1 << (hash & 15)) ? RMD_LAFM : -1;
  }

  /** Has the chip a descriptor, or is there one further on? Once round the ring at most. */
  private findDescriptor(): boolean {
    const {
      rings,
      rmd,
      chip: {
        regs: { values },
        state,
      },
    } = this;
    rings.pollReceive();
    if (!(values[R.CSR41]! & OWN) && state.rdra !== 0) {
      let counter = values[R.CSR72]! - 1;
      for (let n = values[R.CSR76]! - 1; n > 0; n--, counter--) {
        if (counter <= 1) counter = values[R.CSR76]!;
        rmd.load(rings.receiveAddress(counter));
        if (!(rmd.status & OWN)) continue;
        values[R.CSR72] = counter;
        rings.pollReceive();
        break;
      }
    }
    return (values[R.CSR41]! & OWN) !== 0;
  }

  /** Frame and FCS into the buffer and from there into descriptors; the last tells how it went. */
  private store(data: Uint8Array, length: number, source: Source, match: number): void {
    const {
      rings,
      rmd,
      chip: {
        regs: { values },
        state,
      },
    } = this;
    let size = length;
    let damaged = false;
    if (source === 'wire') {
      size = Math.min(size, BUFFER_SIZE - FCS_SIZE);
      for (let i = 0; i < size; i++) state.buffer[i] = data[i]!;
      state.buffer.fill(0, size, size + FCS_SIZE);
      size += FCS_SIZE;
    } else {
      // The transmitter leaves room for an FCS. It goes most significant byte first and is not inverted, as QEMU's does.
      const fcs = ~crc32(state.buffer, size);
      const append = source === 'loop with FCS' || !(values[R.CSR15]! & MODE_DXMTFCS) || size < ETH_ZLEN + FCS_SIZE;
      for (let i = 0; i < FCS_SIZE; i++) {
        const byte = (fcs >>> (24 - 8 * i)) & 0xff;
        if (append) state.buffer[size + i] = byte;
        else damaged ||= state.buffer[size + i] !== byte;
      }
      if (append) size += FCS_SIZE;
    }

    let at = getPair(values, R.CSR28);
    rmd.load(physical(values, at));
    rmd.status |= STP;
    this.done = 0;
    this.left = size;
    this.fill(at);
    let used = 1;
    for (const pointer of NEXT) {
      const next = getPair(values, pointer);
      if (this.left === 0 || next === 0) break;
      rmd.load(physical(values, next));
      if (!(rmd.status & OWN)) break;
      at = next;
      this.fill(at);
      used++;
    }

    rmd.load(physical(values, at));
    if (this.left === 0) {
      rmd.misc = ((rmd.misc & ~MCNT) | size) >>> 0;
      rmd.status = (rmd.status & ~MATCHES) | ENP | match | (damaged ? RMD_CRC | ERR : 0);
    } else {
      rmd.status |= RMD_OFLO | RMD_BUFF | ERR;
    }
    rmd.store(physical(values, at));
    values[R.CSR0]! |= CSR0_RINT;
    for (; used > 0; used--) advance(values, R.CSR72, R.CSR76);
    rings.pollReceive();
  }

  /** As much as fits into the loaded descriptor's buffer; the descriptor, at `at`, goes back to the driver. */
  private fill(at: number): void {
    const { rmd, chip } = this;
    const { values } = chip.regs;
    const count = Math.min(rmd.bufferSize, this.left);
    chip.dmaWrite(physical(values, rmd.buffer), chip.state.buffer, this.done, count);
    this.done += count;
    this.left -= count;
    rmd.status &= ~OWN;
    rmd.store(physical(values, at));
  }
}

/** Registers that point to the second and third descriptor of a frame. */
const NEXT = [R.CSR26, R.CSR36];
