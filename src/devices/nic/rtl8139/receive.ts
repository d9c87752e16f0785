/** The receiver: filters, the byte ring of C mode, the descriptor ring of C+ mode. */
import { be16, crc32, ETH_ALEN, ETH_P_8021Q, ETH_ZLEN, multicastHash, VLAN_HLEN } from '../ethernet.ts';
import type { ReceiveResult } from '../../interfaces.ts';
import { lines } from './log.ts';
import {
  addr64,
  CMD_RX_ENABLE,
  CP_RX_ENABLE,
  CP_RX_VLAN,
  INT_RX_OK,
  INT_RX_OVERFLOW,
  le32,
  putLe32,
  R,
  RX_ALL_PHYS,
  RX_BROADCAST,
  RX_MULTICAST,
  RX_MY_PHYS,
  RX_NO_WRAP,
  type ChipPort,
} from './port.ts';
import { Tally } from './state.ts';

/** C mode: status in the low half of the word before each frame (data sheet, "Receive Status Register"). */
const STATUS_OK = 0x0001;
const STATUS_BROADCAST = 0x2000;
const STATUS_PHYSICAL = 0x4000;
const STATUS_MULTICAST = 0x8000;
/** Bytes around a frame in the C mode ring: status and length before, CRC after. */
const RING_OVERHEAD = 8;
/** Room a frame needs for the wire to be let in. */
const RING_LOW_WATER = 1514;
/** Behind the ring, what the driver keeps free for a frame that may not wrap. */
const NO_WRAP_ROOM = 1536;

/** C+ receive descriptor. */
const CP_RX_OWN = 0x80000000;
const CP_RX_END_OF_RING = 0x40000000;
const CP_RX_FIRST_LAST = 0x30000000;
const CP_RX_MULTICAST = 0x04000000;
const CP_RX_PHYSICAL = 0x02000000;
const CP_RX_BROADCAST = 0x01000000;
const CP_RX_SIZE_MASK = 0x1fff;
const CP_RX_TAG_AVAILABLE = 0x00010000;
const CP_RX_TAG_MASK = 0xffff;
const DESCRIPTOR_SIZE = 16;
const CRC_SIZE = 4;

const alignWord = (bytes: number): number => (bytes + 3) & ~3;

export class Receiver {
  private readonly chip: ChipPort;
  /** A short frame, padded; room for a tag that is taken off. */
  private readonly short = new Uint8Array(ETH_ZLEN + VLAN_HLEN);
  private readonly descriptor = new Uint8Array(DESCRIPTOR_SIZE);
  private readonly word = new Uint8Array(4);

  constructor(chip: ChipPort) {
    this.chip = chip;
  }

  /** Free bytes of the C mode ring; 0 when it is empty. */
  private available(): number {
    const { state } = this.chip;
    return (state.rxBufferSize + state.rxBufPtr - state.rxBufAddr) & (state.rxBufferSize - 1);
  }

  /** Is there nothing to read in the C mode ring? */
  ringEmpty(): boolean {
    const { state } = this.chip;
    return ((state.rxBufferSize + state.rxBufAddr - state.rxBufPtr) & (state.rxBufferSize - 1)) === 0;
  }

  /** May the wire offer a frame? A receiver that is off takes and drops. */
  canReceive(): boolean {
    const { regs, state } = this.chip;
    if (!state.clockRuns || !(regs.values[R.ChipCmd]! & CMD_RX_ENABLE)) return true;
    if (regs.values[R.CpCmd]! & CP_RX_ENABLE && this.hasRing()) return true;
    const available = this.available();
    return available === 0 || available >= RING_LOW_WATER || (regs.values[R.IntrMask]! & INT_RX_OVERFLOW) !== 0;
  }

  /** Drivers set the C+ ring's address after they enable the receiver; until then there is none. */
  private hasRing(): boolean {
    const { values } = this.chip.regs;
    return values[R.RxRingAddr] !== 0 || values[R.RxRingAddrHI] !== 0;
  }

  /** Takes a frame, bytes 0 … length-1; loopback comes here too. `canWait`: see NetDevice. */
  receive(frame: Uint8Array, length: number, canWait: boolean): ReceiveResult {
    const { regs, state, log } = this.chip;
    if (log) log(lines.received, { length });
    if (!state.clockRuns || !(regs.values[R.ChipCmd]! & CMD_RX_ENABLE)) {
      if (log) log(lines.receiverDisabled, {});
      state.rxFiltered++;
      return 'dropped';
    }
    const status = this.filter(frame);
    if (status < 0) {
      state.tally[Tally.RxErr]!++;
      state.rxFiltered++;
      return 'dropped';
    }
    let data = frame;
    let size = length;
    if (length < ETH_ZLEN + VLAN_HLEN) {
      data = this.short;
      for (let i = 0; i < data.length; i++) data[i] = i < length ? frame[i]! : 0;
      size = Math.max(length, ETH_ZLEN);
    }
    const cplus = (regs.values[R.CpCmd]! & CP_RX_ENABLE) !== 0;
    const ring = !cplus || this.hasRing();
    if (cplus && ring) this.fetchDescriptor();
    if (canWait && ring && (cplus ? !(le32(this.descriptor, 0) & CP_RX_OWN) : this.isFull(size + RING_OVERHEAD))) {
      // "Rx buffer overflow" says that room has run out, not that a frame is lost, and 8139too waits for it: having read as
      // much as it may in one go it looks at the ring again only after an interrupt.
      if (!(regs.values[R.IntrStatus]! & INT_RX_OVERFLOW)) this.chip.interrupt(INT_RX_OVERFLOW);
      return 'refused';
    }
    if (status & STATUS_BROADCAST) state.tally[Tally.RxOkBrd]!++;
    else if (status & STATUS_MULTICAST) state.tally[Tally.RxOkMul]!++;
    else if (status & STATUS_PHYSICAL) state.tally[Tally.RxOkPhy]!++;
    let taken: boolean;
    if (!ring) {
      state.rxNoRoom++;
      return 'dropped';
    }
    if (cplus) {
      taken = this.intoDescriptor(data, size, length, status);
    } else {
      taken = this.intoRing(data, size, status);
    }
    if (!taken) {
      regs.values[R.RxMissed] = regs.values[R.RxMissed]! + 1;
      state.rxNoRoom++;
      this.chip.interrupt(INT_RX_OVERFLOW);
      return 'dropped';
    }
    state.rxPackets++;
    state.rxBytes += length;
    this.chip.interrupt(INT_RX_OK);
    return 'accepted';
  }

  /**
   * Status bits of an accepted frame by its destination, or -1. As in QEMU, of a frame too short for an address the
   * bytes behind it in the backend's buffer are looked at; where there are none they match nothing.
   */
  private filter(frame: Uint8Array): number {
    const { values } = this.chip.regs;
    const config = values[R.RxConfig]!;
    if (config & RX_ALL_PHYS) return 0;
    if (frame[0]! & 1) {
      let broadcast = true;
      for (let i = 0; i < ETH_ALEN; i++) broadcast &&= frame[i] === 0xff;
      if (broadcast) {
        if (!(config & RX_BROADCAST)) return -1;
        return STATUS_BROADCAST;
      }
      if (!(config & RX_MULTICAST)) return -1;
      const hash = multicastHash(frame);
      if (!(values[R.MAR0 + (hash >> 3)]! & (1 << (hash & 7)))) return -1;
      return STATUS_MULTICAST;
    }
    for (let i = 0; i < ETH_ALEN; i++) if (values[R.MAC0 + i] !== frame[i]) return -1;
    if (!(config & RX_MY_PHYS)) return -1;
    return STATUS_PHYSICAL;
  }

  /** C mode: word, frame and CRC into the byte ring. False when there is no room. */
  private intoRing(data: Uint8Array, size: number, status: number): boolean {
    const { state, log } = this.chip;
    const available = this.available();
    const need = size + RING_OVERHEAD;
    const noWrap = this.noWrap();
    if (
      this.isFull(need) ||
      need > state.rxBufferSize ||
      (noWrap && state.rxBufAddr + need > state.rxBufferSize + NO_WRAP_ROOM)
    ) {
      if (log) {
        const { rxBufferSize: bytes, rxBufAddr: head, rxBufPtr: read } = state;
        log(lines.overflow, { bytes, head, read, available, need });
      }
      return false;
    }
    putLe32(this.word, 0, status | STATUS_OK | ((size + CRC_SIZE) << 16));
    this.ringWrite(this.word, CRC_SIZE, noWrap);
    this.ringWrite(data, size, noWrap);
    putLe32(this.word, 0, crc32(data, size));
    this.ringWrite(this.word, CRC_SIZE, noWrap);
    state.rxBufAddr = alignWord(state.rxBufAddr) & (state.rxBufferSize - 1);
    if (log) {
      const { rxBufferSize: bytes, rxBufAddr: head, rxBufPtr: read } = state;
      log(lines.ringReceived, { bytes, head, read });
    }
    return true;
  }

  /** Is the C mode ring, which is large enough, too full for `need` bytes until the driver has read on? */
  private isFull(need: number): boolean {
    const available = this.available();
    // Whole words: a frame that took the last one would make the full ring look empty.
    return available !== 0 && alignWord(need) >= available && need <= this.chip.state.rxBufferSize;
  }

  /** A 64 KiB ring always wraps. */
  private noWrap(): boolean {
    const { regs, state } = this.chip;
    return state.rxBufferSize < 65536 && (regs.values[R.RxConfig]! & RX_NO_WRAP) !== 0;
  }

  private ringWrite(data: Uint8Array, length: number, noWrap: boolean): void {
    const { chip } = this;
    const { state } = chip;
    const base = chip.regs.values[R.RxBuf]!;
    const toEnd = Math.max(state.rxBufferSize - state.rxBufAddr, 0);
    if (noWrap || length <= toEnd) {
      chip.dmaWrite(base + state.rxBufAddr, data, 0, length);
      state.rxBufAddr += length;
      return;
    }
    if (toEnd) chip.dmaWrite(base + state.rxBufAddr, data, 0, toEnd);
    chip.dmaWrite(base, data, toEnd, length - toEnd);
    state.rxBufAddr = length - toEnd;
  }

  /** Where the next C+ descriptor lies. */
  private descriptorAddress(): number {
    const {
      regs: { values },
      state,
    } = this.chip;
    return addr64(values[R.RxRingAddr]!, values[R.RxRingAddrHI]!) + state.cplusRxDesc * DESCRIPTOR_SIZE;
  }

  private fetchDescriptor(): void {
    const { chip } = this;
    const at = this.descriptorAddress();
    if (chip.log) {
      const {
        regs: { values },
        state,
      } = chip;
      const fields = { high: values[R.RxRingAddrHI]!, low: values[R.RxRingAddr]!, gpa: at };
      chip.log(lines.cplusRxAt, { n: state.cplusRxDesc, ...fields });
    }
    chip.dmaRead(at, this.descriptor, 0, DESCRIPTOR_SIZE);
  }

  /** C+ mode: the frame and its CRC into the fetched descriptor's buffer. False when the chip has none, or a small one. */
  private intoDescriptor(data: Uint8Array, padded: number, length: number, status: number): boolean {
    const { chip, descriptor } = this;
    const {
      regs: { values },
      state,
      log,
    } = chip;
    const n = state.cplusRxDesc;
    const at = this.descriptorAddress();
    const command = le32(descriptor, 0);
    let vlan = le32(descriptor, 4);
    const bufferLow = le32(descriptor, 8);
    const bufferHigh = le32(descriptor, 12);
    if (log) log(lines.cplusRx, { n, word0: command, word1: vlan, word2: bufferLow, word3: bufferHigh });
    const tagged = (values[R.CpCmd]! & CP_RX_VLAN) !== 0 && be16(data, 2 * ETH_ALEN) === ETH_P_8021Q;
    const size = tagged ? Math.max(padded - VLAN_HLEN, ETH_ZLEN) : padded;
    if (!(command & CP_RX_OWN) || size + CRC_SIZE > (command & CP_RX_SIZE_MASK)) {
      if (log) {
        if (command & CP_RX_OWN) log(lines.cplusRxSmall, { n, size: command & CP_RX_SIZE_MASK, bytes: size });
        else log(lines.cplusRxOwned, { n });
      }
      state.tally[Tally.RxErr]!++;
      state.tally[Tally.MissPkt]!++;
      return false;
    }
    const to = addr64(bufferLow, bufferHigh);
    if (tagged) {
      vlan = (vlan & ~CP_RX_TAG_MASK) | CP_RX_TAG_AVAILABLE | data[2 * ETH_ALEN + 2]! | (data[2 * ETH_ALEN + 3]! << 8);
      chip.dmaWrite(to, data, 0, 2 * ETH_ALEN);
      chip.dmaWrite(to + 2 * ETH_ALEN, data, 2 * ETH_ALEN + VLAN_HLEN, size - 2 * ETH_ALEN);
    } else {
      vlan &= ~CP_RX_TAG_AVAILABLE;
      chip.dmaWrite(to, data, 0, size);
    }
    putLe32(this.word, 0, crc32(data, length));
    chip.dmaWrite(to + size, this.word, 0, CRC_SIZE);

    // Ownership last: a driver on another processor may look as soon as it changes.
    putLe32(descriptor, 4, vlan);
    chip.dmaWrite(at + 4, descriptor, 4, 4);
    putLe32(
      descriptor,
      0,
      (command & ~(CP_RX_OWN | CP_RX_SIZE_MASK)) |
        CP_RX_FIRST_LAST |
        (size + CRC_SIZE) |
        (status & STATUS_BROADCAST ? CP_RX_BROADCAST : 0) |
        (status & STATUS_MULTICAST ? CP_RX_MULTICAST : 0) |
        (status & STATUS_PHYSICAL ? CP_RX_PHYSICAL : 0),
    );
    chip.dmaWrite(at, descriptor, 0, 4);
    state.tally[Tally.RxOk]!++;
    state.cplusRxDesc = command & CP_RX_END_OF_RING ? 0 : (n + 1) >>> 0;
    return true;
  }
}
