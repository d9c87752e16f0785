/**
 * A driver for the RTL8139 in C+ mode that makes every register access as an ioreq: what a guest's 8139cp does, from a
 * spec. Rings and buffers are laid into guest RAM by guest-physical address.
 */
import type { FakeHypervisor } from './fake-hypervisor.ts';

const TX_RING = 0x10_0000;
const RX_RING = 0x10_0100;
const TX_BUFFERS = 0x20_0802;
const RX_BUFFERS = 0x30_0000;
const BUFFER_STEP = 0x800;
const RING = 8;
const OWN = 0x80000000;
const END_OF_RING = 0x40000000;
const FIRST = 0x20000000;
const LAST = 0x10000000;

export class CplusDriver {
  private readonly hv: FakeHypervisor;
  private readonly mmio: number;
  private tx = 0;
  private rx = 0;

  constructor(hv: FakeHypervisor, mmio: number) {
    this.hv = hv;
    this.mmio = mmio;
  }

  reg(offset: number, size: number): number {
    return this.hv.read(this.mmio + offset, size);
  }

  setReg(offset: number, size: number, value: number): void {
    this.hv.write(this.mmio + offset, size, value);
  }

  /** Reset, rings, receiver and transmitter on, interrupts RxOK and TxOK. */
  start(): void {
    this.setReg(0x37, 1, 0x10);
    while (this.reg(0x37, 1) & 0x10);
    this.setReg(0xe0, 2, 0x0003); // C+ transmit and receive
    for (let i = 0; i < RING; i++) {
      this.descriptor(RX_RING, i, (OWN | (i === RING - 1 ? END_OF_RING : 0) | BUFFER_STEP) >>> 0, RX_BUFFERS + i * BUFFER_STEP);
      this.descriptor(TX_RING, i, i === RING - 1 ? END_OF_RING : 0, 0);
    }
    this.setReg(0x20, 4, TX_RING);
    this.setReg(0x24, 4, 0);
    this.setReg(0xe4, 4, RX_RING);
    this.setReg(0xe8, 4, 0);
    this.setReg(0x37, 1, 0x0c);
    this.setReg(0x44, 4, 0x0000f60e); // RxConfig: physical match, multicast, broadcast
    this.setReg(0xec, 1, 0x3f);
    this.setReg(0x3c, 2, 0x0005);
  }

  /** Put a frame into the next descriptor and ring the doorbell. */
  send(frame: Uint8Array): void {
    const at = TX_BUFFERS + this.tx * BUFFER_STEP;
    this.hv.poke(at, frame);
    this.descriptor(TX_RING, this.tx, (OWN | FIRST | LAST | (this.tx === RING - 1 ? END_OF_RING : 0) | frame.length) >>> 0, at);
    this.tx = (this.tx + 1) % RING;
    this.setReg(0xd9, 1, 0x40);
  }

  /** The next frame that DMA has put into the receive ring (without its FCS), its descriptor given back; undefined when there is none. */
  receive(): Uint8Array | undefined {
    const at = RX_RING + this.rx * 16;
    const status = this.word(at);
    if (status >>> 31) return undefined;
    const frame = this.hv.peek(RX_BUFFERS + this.rx * BUFFER_STEP, (status & 0x1fff) - 4);
    this.descriptor(
      RX_RING,
      this.rx,
      (OWN | (this.rx === RING - 1 ? END_OF_RING : 0) | BUFFER_STEP) >>> 0,
      RX_BUFFERS + this.rx * BUFFER_STEP,
    );
    this.rx = (this.rx + 1) % RING;
    return frame;
  }

  /** Read and acknowledge the interrupt status. */
  acknowledge(): number {
    const status = this.reg(0x3e, 2);
    this.setReg(0x3e, 2, status);
    return status;
  }

  /** Is the transmit descriptor used last still the chip's? */
  get transmitPending(): boolean {
    return this.word(TX_RING + ((this.tx + RING - 1) % RING) * 16) >>> 31 === 1;
  }

  private word(gpa: number): number {
    const b = this.hv.peek(gpa, 4);
    return (b[0]! | (b[1]! << 8) | (b[2]! << 16) | (b[3]! << 24)) >>> 0;
  }

  private descriptor(ring: number, index: number, status: number, address: number): void {
    const words = new Uint32Array([status, 0, address, 0]);
    this.hv.poke(ring + index * 16, new Uint8Array(words.buffer));
  }
}
