/** The transmitter: four buffers in C mode, a descriptor ring in C+ mode. */
import { ETH_ALEN, ETH_P_8021Q, putBe16, VLAN_HLEN } from '../ethernet.ts';
import { lines } from './log.ts';
import { CP_TX_OFFLOAD, offload } from './offload.ts';
import { addr64, CMD_TX_ENABLE, CP_TX_ENABLE, INT_TX_OK, le32, putLe32, R, TX_OK, TX_OWN, type ChipPort } from './port.ts';
import { CPLUS_BUFFER_SIZE, Tally } from './state.ts';

/** C+ transmit descriptor: command and length, VLAN, address (RTL8139C(L)+ data sheet, "Transmit Descriptor"). */
export const DESCRIPTOR_SIZE = 16;
export const CP_TX_OWN = 0x80000000;
export const CP_TX_END_OF_RING = 0x40000000;
export const CP_TX_FIRST = 0x20000000;
export const CP_TX_LAST = 0x10000000;
/** Underrun, error summary, out-of-window, link failure, excessive collisions: the chip clears them. */
const CP_TX_STATUS = 0x02f00000;
export const CP_TX_SIZE_MASK = 0xffff;
/** Second word: insert the tag in bits 15:0 (its first byte in bits 7:0). */
const CP_TX_INSERT_TAG = 0x00020000;

/** Descriptors of a C+ ring, and so the most that one doorbell may walk. */
export const CPLUS_RING_SIZE = 64;
/**
 * Frames after which a doorbell takes no further descriptor: large sends cut into single bytes would keep the chip busy
 * for seconds. 64 descriptors of 64 KiB at an MSS of 536 are half of it.
 */
const MOST_FRAMES = 16384;
const C_BUFFER_SIZE = 0x2000;

export class Transmitter {
  private readonly chip: ChipPort;
  private readonly buffer = new Uint8Array(C_BUFFER_SIZE);
  /** A frame with its tag; made when the first is sent. */
  private tagged: Uint8Array | undefined;
  private readonly descriptor = new Uint8Array(DESCRIPTOR_SIZE);
  /** Tag to insert into the frame on its way out, or -1. */
  private tag = -1;
  /** Frames sent since the doorbell. */
  private frames = 0;
  private readonly sendSegment = (length: number): void => {
    this.chip.state.txSegments++;
    this.emit(this.chip.state.cplusBuffer, length);
  };

  constructor(chip: ChipPort) {
    this.chip = chip;
  }

  /** C mode: sends the next buffer if the driver has given it to the chip. Buffers leave in strict order. */
  transmitC(): void {
    const { chip } = this;
    const { regs, state, log } = chip;
    const n = state.txBuffer;
    const status = regs.values[R.TxStatus0 + n]!;
    if (!(regs.values[R.ChipCmd]! & CMD_TX_ENABLE)) {
      if (log) log(lines.cannotDisabled, { n });
      return;
    }
    if (status & TX_OWN) {
      if (log) log(lines.cannotOwned, { n, status });
      return;
    }
    const size = status & (C_BUFFER_SIZE - 1);
    const address = regs.values[R.TxAddr0 + n]!;
    if (log) log(lines.fetch, { bytes: size, gpa: address });
    chip.dmaRead(address, this.buffer, 0, size);
    regs.values[R.TxStatus0 + n] = status | TX_OWN | TX_OK;
    this.tag = -1;
    this.emit(this.buffer, size);
    if (log) log(lines.transmitted, { bytes: size, n });
    state.txBuffer = (n + 1) & 3;
    chip.interrupt(INT_TX_OK);
  }

  /** C+ mode: walks the normal-priority ring, once round at most. */
  transmitCplus(): void {
    const { chip } = this;
    let count = 0;
    this.frames = 0;
    while (count < CPLUS_RING_SIZE && this.frames < MOST_FRAMES && this.oneCplus()) count++;
    if (count) chip.interrupt(INT_TX_OK);
    else if (chip.log) chip.log(lines.cplusStalled, { n: chip.state.cplusTxDesc });
  }

  /** Takes one descriptor; false when there is none to take. */
  private oneCplus(): boolean {
    const { chip, descriptor } = this;
    const { regs, state, log } = chip;
    if (!(regs.values[R.ChipCmd]! & CMD_TX_ENABLE) || !(regs.values[R.CpCmd]! & CP_TX_ENABLE)) {
      if (log) log(lines.cplusDisabled, {});
      return false;
    }
    const n = state.cplusTxDesc;
    const ringLow = regs.values[R.TxAddr0]!;
    const ringHigh = regs.values[R.TxAddr1]!;
    const at = addr64(ringLow, ringHigh) + n * DESCRIPTOR_SIZE;
    if (log) log(lines.cplusTxAt, { n, high: ringHigh, low: ringLow, gpa: at });
    chip.dmaRead(at, descriptor, 0, DESCRIPTOR_SIZE);
    const command = le32(descriptor, 0);
    const vlan = le32(descriptor, 4);
    const bufferLow = le32(descriptor, 8);
    const bufferHigh = le32(descriptor, 12);
    if (log) log(lines.cplusTx, { n, word0: command, word1: vlan, word2: bufferLow, word3: bufferHigh });
    if (!(command & CP_TX_OWN)) {
      if (log) log(lines.cplusTxOwned, { n });
      return false;
    }
    if (log) log(lines.cplusTxBegins, { n });
    if (command & CP_TX_FIRST) {
      if (log) log(lines.cplusTxFirst, { n });
      state.cplusLength = 0;
    }
    const from = addr64(bufferLow, bufferHigh);
    const size = Math.min(command & CP_TX_SIZE_MASK, CPLUS_BUFFER_SIZE - state.cplusLength);
    if (log) log(lines.cplusFetch, { bytes: size, gpa: from, offset: state.cplusLength });
    chip.dmaRead(from, state.cplusBuffer, state.cplusLength, size);
    state.cplusLength += size;
    state.cplusTxDesc = command & CP_TX_END_OF_RING ? 0 : (n + 1) % CPLUS_RING_SIZE;

    putLe32(descriptor, 0, command & ~(CP_TX_OWN | CP_TX_STATUS));
    chip.dmaWrite(at, descriptor, 0, 4);
    if (command & CP_TX_LAST) {
      if (log) log(lines.cplusTxLast, { n });
      this.sendCplus(command, vlan);
    } else if (log) log(lines.cplusTxGoesOn, {});
    return true;
  }

  /** The assembled frame leaves. */
  private sendCplus(command: number, vlan: number): void {
    const { state, log } = this.chip;
    let size = state.cplusLength;
    // The frame is taken out of the chip first: whatever sending it brings about finds the buffer empty.
    state.cplusLength = 0;
    this.tag = vlan & CP_TX_INSERT_TAG ? ((vlan & 0xff) << 8) | ((vlan >>> 8) & 0xff) : -1;
    const segments = state.txSegments;
    if (command & CP_TX_OFFLOAD) size = offload(command, state.cplusBuffer, size, this.sendSegment);
    if (state.txSegments !== segments) state.txLargeSends++;
    state.tally[Tally.TxOk]!++;
    if (log) log(lines.cplusSent, { bytes: size });
    this.emit(state.cplusBuffer, size);
  }

  /** Hands a frame out, with the VLAN tag behind the addresses if there is one. An empty frame is none. */
  private emit(frame: Uint8Array, length: number): void {
    if (length === 0) return;
    this.frames++;
    if (this.tag < 0 || length < 2 * ETH_ALEN) {
      this.chip.transfer(frame, length, 0);
      return;
    }
    const tagged = (this.tagged ??= new Uint8Array(CPLUS_BUFFER_SIZE + VLAN_HLEN));
    for (let i = 0; i < 2 * ETH_ALEN; i++) tagged[i] = frame[i]!;
    putBe16(tagged, 2 * ETH_ALEN, ETH_P_8021Q);
    putBe16(tagged, 2 * ETH_ALEN + 2, this.tag);
    tagged.set(frame.subarray(2 * ETH_ALEN, length), 2 * ETH_ALEN + VLAN_HLEN);
    this.chip.transfer(tagged, length + VLAN_HLEN, VLAN_HLEN);
  }
}
