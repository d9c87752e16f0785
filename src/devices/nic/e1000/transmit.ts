/** The transmitter: walks the descriptor ring, gathers frames, cuts large sends into segments. */
import { whole64 } from '../../../base/hex.ts';
import { ETH_ALEN, putBe16, VLAN_HLEN } from '../ethernet.ts';
import {
  CTX_IP,
  CTX_PAYLEN,
  CTX_TCP,
  DESCRIPTOR_SIZE,
  TXD_DD,
  TXD_EOP,
  TXD_IDE,
  TXD_LENGTH,
  TXD_REPORT,
  TXD_TROUBLE,
  TXD_TSE,
  TXD_VLE,
  txKind,
} from './descriptors.ts';
import { lines } from './log.ts';
import { adaptHeaders, insertChecksums } from './offload.ts';
import {
  addBytes,
  addr64,
  count,
  countSize,
  CTRL_VME,
  INT_TXDW,
  INT_TXQE,
  le32,
  putLe32,
  R,
  ringBase,
  TCTL_EN,
  type ChipPort,
} from './port.ts';
import { TX_BUFFER_SIZE, type TxContext } from './state.ts';

/**
 * Frames after which a doorbell takes no further descriptor: large sends cut into single bytes would keep the chip busy for minutes.
 * A ring of 4,096 descriptors, the chip's largest, filled with frames is a quarter of it.
 */
const MOST_FRAMES = 16384;

const CRC_SIZE = 4;

/** Copies headers: so few bytes that a view of them would cost more. */
function copy(from: Uint8Array, to: Uint8Array, length: number): void {
  for (let i = 0; i < length; i++) to[i] = from[i]!;
}

export class Transmitter {
  private readonly chip: ChipPort;
  private readonly descriptor = new Uint8Array(DESCRIPTOR_SIZE);
  /** A frame with its tag; made when the first is sent. */
  private tagged: Uint8Array | undefined;
  /** Frames sent since the doorbell. */
  private frames = 0;

  constructor(chip: ChipPort) {
    this.chip = chip;
  }

  /** Takes descriptors from TDH to TDT, once round the ring at most. */
  start(): void {
    const { chip, descriptor } = this;
    const { values } = chip.regs;
    const { log } = chip;
    if (!(values[R.TCTL]! & TCTL_EN)) {
      if (log) log(lines.txDisabled, {});
      return;
    }
    const first = values[R.TDH]!;
    const ring = values[R.TDLEN]!;
    let causes = INT_TXQE;
    this.frames = 0;
    while (values[R.TDH] !== values[R.TDT]) {
      if (this.frames >= MOST_FRAMES) {
        causes &= ~INT_TXQE;
        break;
      }
      const at = ringBase(values, R.TDBAL, R.TDBAH) + values[R.TDH]! * DESCRIPTOR_SIZE;
      chip.dmaRead(at, descriptor, 0, DESCRIPTOR_SIZE);
      if (log) {
        const address = whole64(le32(descriptor, 0), le32(descriptor, 4));
        log(lines.txDescriptor, { index: values[R.TDH]!, address, lower: le32(descriptor, 8), upper: le32(descriptor, 12) });
      }
      this.take();
      if (this.report(at)) causes |= INT_TXDW;
      const next = values[R.TDH]! + 1;
      values[R.TDH] = next * DESCRIPTOR_SIZE >= ring ? 0 : next;
      // A head outside the ring, or a tail that is never met.
      if (values[R.TDH] === first || first >= ring / DESCRIPTOR_SIZE) {
        if (log) log(lines.txWrap, { start: first, tdt: values[R.TDT]!, tdlen: ring });
        break;
      }
    }
    chip.interrupt(causes);
  }

  /** Writes the descriptor's status back, if it asks for that. */
  private report(at: number): boolean {
    const { descriptor } = this;
    if (!(le32(descriptor, 8) & TXD_REPORT)) return false;
    putLe32(descriptor, 12, (le32(descriptor, 12) | TXD_DD) & ~TXD_TROUBLE);
    this.chip.dmaWrite(at + 12, descriptor, 12, 4);
    return true;
  }

  /** Does what the descriptor says. */
  private take(): void {
    const { chip, descriptor } = this;
    const { tx } = chip.state;
    const command = le32(descriptor, 8);
    if (command & TXD_IDE) chip.state.delayTx = true;
    const kind = txKind(command);
    if (kind === 'context') {
      this.takeContext(command);
      return;
    }
    if (kind === 'data') {
      if (tx.size === 0) tx.options = descriptor[13]!;
      tx.largeSend = (command & TXD_TSE) !== 0;
    } else tx.largeSend = false;
    if (chip.regs.values[R.CTRL]! & CTRL_VME && command & TXD_VLE && (tx.largeSend || command & TXD_EOP)) {
      const vet = chip.regs.values[R.VET]! & 0xffff;
      tx.tag = ((vet << 16) | (descriptor[15]! << 8) | descriptor[14]!) >>> 0;
    }
    const from = addr64(le32(descriptor, 0), le32(descriptor, 4));
    if (tx.largeSend) this.cut(from, command & TXD_LENGTH);
    else this.gather(from, command & TXD_LENGTH);
    if (!(command & TXD_EOP)) return;
    if (!tx.largeSend || tx.size >= tx.largeSendContext.hdrLen) this.emit();
    if (tx.segments > 0) chip.state.txLargeSends++;
    tx.segments = 0;
    tx.options = 0;
    tx.tag = -1;
    tx.size = 0;
    tx.largeSend = false;
  }

  private takeContext(command: number): void {
    const { descriptor: d } = this;
    const { tx } = this.chip.state;
    const context: TxContext = command & TXD_TSE ? tx.largeSendContext : tx.context;
    context.ipcss = d[0]!;
    context.ipcso = d[1]!;
    context.ipcse = d[2]! | (d[3]! << 8);
    context.tucss = d[4]!;
    context.tucso = d[5]!;
    context.tucse = d[6]! | (d[7]! << 8);
    context.paylen = command & CTX_PAYLEN;
    context.tcp = (command & CTX_TCP) !== 0;
    context.ip = (command & CTX_IP) !== 0;
    context.hdrLen = d[13]!;
    context.mss = d[14]! | (d[15]! << 8);
    if (command & TXD_TSE) tx.segments = 0;
  }

  /** Adds bytes of a plain frame, as many as the buffer still has room for. Like a 16-bit counter 65,536 bytes are none. */
  private gather(from: number, length: number): void {
    const { tx } = this.chip.state;
    const bytes = Math.min(length, TX_BUFFER_SIZE - tx.size);
    if (bytes > 0) this.chip.dmaRead(from, tx.buffer, tx.size, bytes);
    tx.size = (tx.size + bytes) & (TX_BUFFER_SIZE - 1);
  }

  /** Adds bytes of a large send; each time headers and MSS are full, a segment leaves and the next begins with the same headers. */
  private cut(from: number, length: number): void {
    const { tx } = this.chip.state;
    const { hdrLen, mss } = tx.largeSendContext;
    const full = hdrLen + mss;
    let rest = length;
    while (rest > 0 && tx.size < full) {
      const bytes = Math.min(rest, full - tx.size, TX_BUFFER_SIZE - tx.size);
      this.chip.dmaRead(from, tx.buffer, tx.size, bytes);
      const size = tx.size + bytes;
      if (tx.size < hdrLen && size >= hdrLen) copy(tx.buffer, tx.header, hdrLen);
      tx.size = size & (TX_BUFFER_SIZE - 1);
      from += bytes;
      rest -= bytes;
      if (size === full) {
        this.emit();
        copy(tx.header, tx.buffer, hdrLen);
        tx.size = hdrLen;
      }
    }
  }

  /** The gathered frame, or a segment of a large send, leaves. */
  private emit(): void {
    const { chip } = this;
    const { tx } = chip.state;
    const { values } = chip.regs;
    const { buffer, size, options } = tx;
    const context = tx.largeSend ? tx.largeSendContext : tx.context;
    if (tx.largeSend) {
      if (chip.log) {
        const { ipcss, tcp, tucss } = context;
        chip.log(lines.txSegment, { frames: tx.segments, size, ipcss });
        chip.log(lines.txTransport, { tcp: Number(tcp), tucss, length: (size - tucss) & 0xffff });
      }
      if (adaptHeaders(buffer, size, options, context, tx.segments)) count(values, R.TSCTC);
      tx.segments = (tx.segments + 1) & 0xffff;
      chip.state.txSegments++;
    }
    insertChecksums(buffer, size, options, context, tx.largeSend);
    this.frames++;
    if (tx.tag < 0) this.send(buffer, size);
    else this.sendTagged(buffer, size, tx.tag);
    count(values, R.TPT);
    addBytes(values, R.TOTL, size + CRC_SIZE);
    values[R.GPTC] = values[R.TPT]!;
    values[R.GOTCL] = values[R.TOTL]!;
    values[R.GOTCH] = values[R.TOTH]!;
  }

  private sendTagged(buffer: Uint8Array, size: number, tag: number): void {
    const tagged = (this.tagged ??= new Uint8Array(TX_BUFFER_SIZE + VLAN_HLEN));
    // A frame too short for addresses has zeros there.
    tagged.fill(0, 0, 2 * ETH_ALEN);
    for (let i = 0; i < 2 * ETH_ALEN && i < size; i++) tagged[i] = buffer[i]!;
    putBe16(tagged, 2 * ETH_ALEN, tag >>> 16);
    putBe16(tagged, 2 * ETH_ALEN + 2, tag & 0xffff);
    if (size > 2 * ETH_ALEN) tagged.set(buffer.subarray(2 * ETH_ALEN, size), 2 * ETH_ALEN + VLAN_HLEN);
    this.send(tagged, size + VLAN_HLEN);
  }

  private send(frame: Uint8Array, length: number): void {
    const { values } = this.chip.regs;
    this.chip.transfer(frame, length);
    let broadcast = length >= ETH_ALEN;
    for (let i = 0; i < ETH_ALEN; i++) broadcast &&= frame[i] === 0xff;
    if (broadcast) count(values, R.BPTC);
    else if (length > 0 && frame[0]! & 1) count(values, R.MPTC);
    countSize(values, R.PTC64, length + CRC_SIZE);
  }
}
