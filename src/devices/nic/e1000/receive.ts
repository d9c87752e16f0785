/** The receiver: filters, VLAN tags, the descriptor ring. */
import type { ReceiveResult } from '../../interfaces.ts';
import { be16, ETH_ALEN, ETH_ZLEN, VLAN_HLEN } from '../ethernet.ts';
import { DESCRIPTOR_SIZE, RXD_DD, RXD_EOP, RXD_IXSM, RXD_VP } from './descriptors.ts';
import { lines } from './log.ts';
import {
  addBytes,
  addr64,
  count,
  countSize,
  CTRL_VME,
  INT_RXDMT0,
  INT_RXO,
  INT_RXT0,
  le32,
  R,
  RAH_AV,
  RCTL_BAM,
  RCTL_BSEX,
  RCTL_LPE,
  RCTL_MPE,
  RCTL_SBP,
  RCTL_SECRC,
  RCTL_UPE,
  RCTL_VFE,
  ringBase,
  type ChipPort,
} from './port.ts';

const CRC_SIZE = 4;
/** Longest frame without its CRC: unless LPE is set, and if it is. */
const LONGEST = 1522;
const LONGEST_LPE = 16384;
/** By RCTL.MO: bits by which bytes 4 and 5 of the address are shifted to make the index into MTA. */
const MTA_SHIFT = [4, 3, 2, 0];
const STATION_ADDRESSES = 16;

/** Bytes of a receive buffer, by RCTL. */
function bufferSize(rctl: number): number {
  const size = (rctl >>> 16) & 3;
  if (size === 0) return 2048;
  return (rctl & RCTL_BSEX ? 32768 : 2048) >> size;
}

export class Receiver {
  private readonly chip: ChipPort;
  /** A short frame, padded, or one whose tag is taken off; made when the first comes. */
  private copy: Uint8Array | undefined;
  private readonly descriptor = new Uint8Array(DESCRIPTOR_SIZE);

  constructor(chip: ChipPort) {
    this.chip = chip;
  }

  /** Has the driver given descriptors for a frame of `bytes`? */
  hasRoom(bytes: number): boolean {
    const { values } = this.chip.regs;
    const head = values[R.RDH]!;
    const tail = values[R.RDT]!;
    const buffer = bufferSize(values[R.RCTL]!);
    if (bytes <= buffer) return head !== tail;
    if (head === tail) return false;
    const free = head < tail ? tail - head : values[R.RDLEN]! / DESCRIPTOR_SIZE + tail - head;
    return bytes <= free * buffer;
  }

  /** Takes a frame, bytes 0 … length-1; loopback comes here too. `canWait`: refuse it rather than lose it for want of descriptors. */
  receive(frame: Uint8Array, length: number, canWait: boolean): ReceiveResult {
    const { chip } = this;
    const { values } = chip.regs;
    const rctl = values[R.RCTL]!;
    let data = frame;
    let size = length;
    if (length < ETH_ZLEN) {
      data = this.scratch();
      for (let i = 0; i < ETH_ZLEN; i++) data[i] = i < length ? frame[i]! : 0;
      size = ETH_ZLEN;
    }
    if (canWait && !this.hasRoom(this.bytesOf(data, size))) return 'refused';
    if (length < ETH_ZLEN) count(values, R.RUC);
    if ((size > LONGEST_LPE || (size > LONGEST && !(rctl & RCTL_LPE))) && !(rctl & RCTL_SBP)) {
      count(values, R.ROC);
      chip.state.rxFiltered++;
      return 'dropped';
    }
    if (!this.passes(data)) {
      chip.state.rxFiltered++;
      return 'dropped';
    }
    let special = -1;
    if (this.stripsTag(data)) {
      special = be16(data, 2 * ETH_ALEN + 2);
      const stripped = this.scratch();
      if (data !== stripped) stripped.set(data.subarray(0, 2 * ETH_ALEN));
      stripped.set(data.subarray(2 * ETH_ALEN + VLAN_HLEN, size), 2 * ETH_ALEN);
      data = stripped;
      size -= VLAN_HLEN;
    }
    return this.store(data, size, special);
  }

  private scratch(): Uint8Array {
    return (this.copy ??= new Uint8Array(0x10000));
  }

  private isTagged(data: Uint8Array): boolean {
    return be16(data, 2 * ETH_ALEN) === (this.chip.regs.values[R.VET]! & 0xffff);
  }

  private stripsTag(data: Uint8Array): boolean {
    return (this.chip.regs.values[R.CTRL]! & CTRL_VME) !== 0 && this.isTagged(data);
  }

  /** Bytes that a frame takes in memory, with its CRC unless that is stripped. */
  private bytesOf(data: Uint8Array, size: number): number {
    const crc = this.chip.regs.values[R.RCTL]! & RCTL_SECRC ? 0 : CRC_SIZE;
    return size - (this.stripsTag(data) ? VLAN_HLEN : 0) + crc;
  }

  private passes(data: Uint8Array): boolean {
    const { values } = this.chip.regs;
    const rctl = values[R.RCTL]!;
    if (rctl & RCTL_VFE && this.isTagged(data)) {
      const vlan = be16(data, 2 * ETH_ALEN + 2) & 0xfff;
      if (!(values[R.VFTA + (vlan >> 5)]! & (1 << (vlan & 31)))) return false;
    }
    const multicast = (data[0]! & 1) !== 0;
    if (!multicast && rctl & RCTL_UPE) return true;
    if (multicast && rctl & RCTL_MPE) {
      count(values, R.MPRC);
      return true;
    }
    if (multicast && rctl & RCTL_BAM) {
      let broadcast = true;
      for (let i = 0; i < ETH_ALEN; i++) broadcast &&= data[i] === 0xff;
      if (broadcast) {
        count(values, R.BPRC);
        return true;
      }
    }
    const low = le32(data, 0);
    const high = data[4]! | (data[5]! << 8);
    for (let i = 0; i < STATION_ADDRESSES; i++) {
      const rah = values[R.RAH + 2 * i]!;
      if (rah & RAH_AV && values[R.RAL + 2 * i] === low && (rah & 0xffff) === high) return true;
    }
    const hash = (high >> MTA_SHIFT[(rctl >>> 12) & 3]!) & 0xfff;
    if (!(values[R.MTA + (hash >> 5)]! & (1 << (hash & 31)))) return false;
    count(values, R.MPRC);
    return true;
  }

  /** Into the buffers of as many descriptors as it takes, once round the ring at most. */
  private store(data: Uint8Array, size: number, special: number): ReceiveResult {
    const { chip, descriptor } = this;
    const { values } = chip.regs;
    const buffer = bufferSize(values[R.RCTL]!);
    const total = size + (values[R.RCTL]! & RCTL_SECRC ? 0 : CRC_SIZE);
    if (!this.hasRoom(total)) return this.overrun(total);
    const first = values[R.RDH]!;
    const ring = values[R.RDLEN]!;
    let done = 0;
    do {
      const bytes = Math.min(total - done, buffer);
      const at = ringBase(values, R.RDBAL, R.RDBAH) + values[R.RDH]! * DESCRIPTOR_SIZE;
      chip.dmaRead(at, descriptor, 0, DESCRIPTOR_SIZE);
      const address = addr64(le32(descriptor, 0), le32(descriptor, 4));
      let status = descriptor[12]! & ~RXD_DD;
      if (address !== 0) {
        const copied = Math.min(size - done, buffer);
        if (copied > 0) chip.dmaWrite(address, data, done, copied);
        done += bytes;
        descriptor[8] = bytes & 0xff;
        descriptor[9] = bytes >> 8;
        status = done >= total ? status | RXD_EOP | RXD_IXSM : status & ~RXD_EOP;
      } else if (chip.log) chip.log(lines.rxNull, {});
      descriptor[12] = status;
      descriptor[14] = special < 0 ? 0 : special & 0xff;
      descriptor[15] = special < 0 ? 0 : special >> 8;
      // Done is written last: a driver on another processor may look at any time.
      chip.dmaWrite(at, descriptor, 0, DESCRIPTOR_SIZE);
      descriptor[12] = status | RXD_DD | (special < 0 ? 0 : RXD_VP);
      chip.dmaWrite(at + 12, descriptor, 12, 1);
      const next = values[R.RDH]! + 1;
      values[R.RDH] = next * DESCRIPTOR_SIZE >= ring ? 0 : next;
      // A head outside the ring, or descriptors without buffers all round.
      if (values[R.RDH] === first || first >= ring / DESCRIPTOR_SIZE) {
        if (chip.log) chip.log(lines.rxWrap, { start: first, rdt: values[R.RDT]!, rdlen: ring });
        return this.overrun(total);
      }
    } while (done < total);
    countSize(values, R.PRC64, total);
    count(values, R.TPR);
    values[R.GPRC] = values[R.TPR]!;
    addBytes(values, R.TORL, size + CRC_SIZE);
    values[R.GORCL] = values[R.TORL]!;
    values[R.GORCH] = values[R.TORH]!;
    chip.state.rxPackets++;
    chip.state.rxBytes += size;
    chip.interrupt(INT_RXT0 | (this.runsLow() ? INT_RXDMT0 : 0));
    return 'accepted';
  }

  /** Is what is left of the ring below the threshold of RCTL.RDMTS? */
  private runsLow(): boolean {
    const { values } = this.chip.regs;
    const ring = values[R.RDLEN]!;
    const head = values[R.RDH]!;
    let tail = values[R.RDT]!;
    if (tail < head) tail += ring / DESCRIPTOR_SIZE;
    return ((tail - head) * DESCRIPTOR_SIZE) >>> 0 <= ring >>> (((values[R.RCTL]! >>> 8) & 3) + 1);
  }

  private overrun(bytes: number): ReceiveResult {
    const { chip } = this;
    const { values } = chip.regs;
    if (chip.log) chip.log(lines.overrun, { size: bytes, rdh: values[R.RDH]!, rdt: values[R.RDT]! });
    count(values, R.RNBC);
    count(values, R.MPC);
    chip.state.rxNoRoom++;
    chip.interrupt(INT_RXO);
    return 'dropped';
  }
}
