/**
 * Fuzz target: the ioreq loop of the device model with hostile shared pages. A program fills slots and the buffered ring by
 * the rules or against them, changes them while a request is in service, takes guest pages away, and drives the NIC. Watched
 * for: exceptions, work without end, writes outside the guest's frames and the shared pages, writes to frames the guest has
 * given back, a slot's state that does not follow the protocol, and mappings left behind.
 */
import { IOREQ_SIZE, IoreqState, IoreqType } from '../../src/abi/ioreq.ts';
import { PAGE_SIZE } from '../../src/base/address.ts';
import { BUFFERED_PORT, VCPU_PORT, type Access } from '../../src/device-model/testing/fake-hypervisor.ts';
import { NIC_MMIO, NIC_PORT, setUp } from '../../src/device-model/testing/set-up.ts';
import type { Target } from './engine.ts';
import { check, Program } from './program.ts';

const RAM_PAGES = 48;
const VCPUS = 2;
const MOST_STEPS = 100;
/** Where frames of the guest begin in the fake hypervisor's memory, and what lies between the shared pages and them. */
const FIRST_FRAME = 16;
const canaries = [0, 5, 6, 9, 15, FIRST_FRAME + RAM_PAGES, FIRST_FRAME + RAM_PAGES + 3];
const CANARY = 0xa5;
const GIVEN_BACK = 0x5c;
const filled: Readonly<Record<number, Uint8Array>> = {
  [CANARY]: new Uint8Array(PAGE_SIZE).fill(CANARY),
  [GIVEN_BACK]: new Uint8Array(PAGE_SIZE).fill(GIVEN_BACK),
};
const USED_BYTES = (FIRST_FRAME + RAM_PAGES + 8) * PAGE_SIZE;
const TX_RING = 0x1000;
const RX_RING = 0x1400;

const memory = new WebAssembly.Memory({ initial: 512, maximum: 512, shared: true });
const addresses = [
  NIC_MMIO,
  NIC_MMIO + 0x37,
  NIC_MMIO + 0xd9,
  NIC_MMIO + 0x3c,
  0xa0000,
  0xbfff8,
  0x0,
  0x1000,
  0xfee00000,
  0xfffffffc,
];
const ports = [NIC_PORT, NIC_PORT + 0x37, NIC_PORT + 0xd8, 0xcf8, 0xcfc, 0x3f8, 0x3fd, 0xe9, 0xb000, 0x8a0, 0xffff, 0x1_0000];
const sizes = [1, 2, 4, 8];

class Run {
  private readonly hv: ReturnType<typeof setUp>['hv'];
  private readonly dm: ReturnType<typeof setUp>['dm'];
  private readonly clock: ReturnType<typeof setUp>['clock'];
  private readonly givenBack: number[] = [];
  /** Change to a slot's word that the next hypercall in service makes: [word index, value]. */
  private flip: [number, number] | undefined;
  /** A flip hit the last request: any end of it is right that keeps the other rules. */
  private touched = false;

  constructor() {
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0, 0, USED_BYTES);
    for (const frame of canaries) bytes.fill(CANARY, frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
    const { hv, dm, clock } = setUp({ ramPages: RAM_PAGES, vcpus: VCPUS, memory });
    this.hv = hv;
    this.dm = dm;
    this.clock = clock;
    const flip = (): void => {
      if (!this.flip) return;
      hv.words[this.flip[0]] = this.flip[1];
      this.flip = undefined;
    };
    const { foreignMap, setPciIntxLevel, modifiedMemory } = hv;
    hv.foreignMap = (...a) => (flip(), foreignMap.apply(hv, a));
    hv.setPciIntxLevel = (...a) => (flip(), setPciIntxLevel.apply(hv, a));
    hv.modifiedMemory = (...a) => (flip(), modifiedMemory.apply(hv, a));
  }

  run(input: Uint8Array): void {
    const program = new Program(input);
    for (let step = 0; step < MOST_STEPS && !program.done; step++) this.step(program);
    this.finish();
  }

  private step(program: Program): void {
    const hv = this.hv;
    const op = program.u8();
    const vcpu = op >> 7;
    switch (op % 13) {
      case 0: {
        const write = program.u8();
        this.post(vcpu, {
          type: write & 2 ? IoreqType.pio : IoreqType.copy,
          addr: (write & 2 ? ports : addresses)[program.u8() % 10]! + (write >> 4),
          size: sizes[program.u8() & 3]!,
          ...(write & 1 ? { write: program.u32() } : {}),
        });
        break;
      }
      case 1:
        this.post(vcpu, {
          type: program.u8() & 1 ? IoreqType.pio : IoreqType.copy,
          addr: (op & 0x40 ? ports : addresses)[program.u8() % 10]!,
          size: sizes[program.u8() & 3]!,
          ...(op & 0x20 ? { write: 0 } : {}),
          count: program.u16() % 0x420,
          ptr: program.u16() * 4,
          df: (op & 0x10) !== 0,
        });
        break;
      case 2: {
        // Straight into the slot, state included.
        const word = ((hv.ioreqPage + vcpu * IOREQ_SIZE) >>> 2) + (program.u8() & 7);
        hv.words[word] = program.u32();
        if (op & 0x40) this.raise(VCPU_PORT + vcpu);
        break;
      }
      case 3: {
        const word = (hv.ring >>> 2) + (program.u8() & 7 ? program.u16() & 0x3ff : program.u8() & 1);
        hv.words[word] = program.u32();
        if (op & 0x40) this.raise(BUFFERED_PORT);
        break;
      }
      case 4: {
        for (let n = 1 + (program.u8() & 0x3f); n > 0; n--)
          hv.buffer(
            0xa0000 + (program.u8() << 9),
            sizes[(op >> 4) & 3] as 1 | 2 | 4 | 8,
            BigInt(program.u8()),
            op & 0x40 ? program.u8() : IoreqType.copy,
          );
        this.raise(BUFFERED_PORT);
        break;
      }
      case 5:
        this.pokeDescriptor(program);
        break;
      case 6:
        this.giveBack(program.u8() % RAM_PAGES);
        break;
      case 7:
        this.clock.ns += program.u8() * 10 ** (program.u8() % 11);
        this.idle();
        break;
      case 8:
        this.flip = [((hv.ioreqPage + vcpu * IOREQ_SIZE) >>> 2) + (program.u8() & 7), program.u32()];
        break;
      case 9:
        this.raise(program.u16() & 0xfff);
        break;
      case 10:
        this.startNic(program.u8());
        break;
      case 11:
        this.post(vcpu, { addr: NIC_MMIO + 0xd9, size: 1, write: 0x40 });
        break;
      case 12:
        this.post(vcpu, {
          type: IoreqType.pciConfig,
          addr: (program.u8() & 0x1f) * 8 * 2 ** 32 + program.u8(),
          size: sizes[program.u8() & 3]!,
          ...(op & 0x40 ? { write: program.u32() } : {}),
        });
        break;
    }
  }

  private post(vcpu: number, access: Access): void {
    const hv = this.hv;
    hv.post({ ...access, vcpu });
    this.raise(VCPU_PORT + vcpu);
    // Posted by the rules and left alone: it must have been answered, or the guest stopped.
    const state = hv.state(vcpu);
    check(this.dm.server.stopped || state === IoreqState.respReady || this.touched, `a request was not answered: state ${state}`);
    this.touched = false;
    if (state === IoreqState.respReady) hv.setState(IoreqState.none, vcpu);
  }

  private raise(port: number): void {
    const armed = this.flip !== undefined;
    const stopped = this.dm.server.stopped;
    const { synchronous, buffered } = this.dm.server.counters;
    this.hv.raise(port);
    this.idle();
    if (armed && this.flip === undefined) this.touched = true;
    if (stopped)
      check(
        synchronous === this.dm.server.counters.synchronous && buffered === this.dm.server.counters.buffered,
        'a request was served after the guest was stopped',
      );
  }

  private idle(): void {
    check(this.dm.runUntilIdle(), 'the device model did not come to rest');
  }

  /** A NIC descriptor, or bytes, in guest memory that is still there. */
  private pokeDescriptor(program: Program): void {
    const at = (program.u8() & 1 ? RX_RING : TX_RING) + 16 * (program.u8() & 7);
    const command = program.u16();
    const length = program.u16();
    const buffer = program.u16() * 4;
    const words = [(command << 16) | length, 0, buffer, program.u8() & 0x80 ? program.u8() : 0];
    if (this.hv.p2m.has(at >>> 12))
      this.hv.poke(
        at,
        words.flatMap((w) => [w & 0xff, (w >>> 8) & 0xff, (w >>> 16) & 0xff, w >>> 24]),
      );
  }

  /** The guest gives a page back; the hypervisor invalidates the map cache before the frame goes to another. */
  private giveBack(gfn: number): void {
    const hv = this.hv;
    const mfn = hv.p2m.get(gfn);
    if (mfn === undefined) return;
    hv.p2m.delete(gfn);
    this.post(0, { type: IoreqType.invalidate, addr: 0, write: -1 });
    if (this.dm.server.stopped) return;
    hv.bytes.fill(GIVEN_BACK, mfn * PAGE_SIZE, (mfn + 1) * PAGE_SIZE);
    this.givenBack.push(mfn);
  }

  private startNic(kind: number): void {
    const write = (offset: number, size: number, value: number): void =>
      this.post(0, { addr: NIC_MMIO + offset, size, write: value });
    write(0xe0, 2, 3);
    write(0x37, 1, 0x0c);
    write(0x20, 4, TX_RING);
    write(0xe4, 4, RX_RING);
    write(0x44, 4, 0x0f);
    write(0x3c, 2, 0xffff);
    write(0x40, 4, kind & 1 ? 0x60000 : 0);
  }

  private finish(): void {
    const hv = this.hv;
    const intact = (frame: number, value: number): boolean =>
      Buffer.compare(hv.bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE), filled[value]!) === 0;
    for (const frame of canaries) check(intact(frame, CANARY), `frame ${frame} is not the guest's and was written`);
    for (const frame of this.givenBack) check(intact(frame, GIVEN_BACK), `frame ${frame} was given back and written`);
    check(hv.calls.filter((call) => call === 'shutdown 3').length <= 1, 'the guest was crashed twice');
    this.dm.stop();
    for (const [mfn, references] of hv.references) check(references === 0, `frame ${mfn} is left with ${references} mappings`);
  }
}

const access = (flags: number, address: number, size: number, value = 0): number[] => [
  0,
  flags,
  address,
  size,
  ...(flags & 1 ? [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24] : []),
];

export const ioreqTarget: Target = {
  name: 'ioreq',
  run: (input) => new Run().run(input),
  seeds: [
    // Registers of the NIC by memory and port, configuration, then a frame from the C+ ring and its reception in loopback.
    Uint8Array.from([
      ...access(0, 0, 2),
      ...access(2, 0, 2),
      12,
      3,
      0,
      2,
      10,
      1,
      5,
      1,
      0,
      0,
      0x80,
      0,
      6,
      0,
      8,
      0,
      5,
      0,
      0,
      0,
      0xb0,
      60,
      0,
      0,
      2,
      0,
      11,
      11,
    ]),
    // String accesses, the buffered ring, a page given back, a flip in service.
    Uint8Array.from([1 + 13, 0, 0, 2, 16, 0, 0, 4, 4, 3, 1, 2, 3, 4, 4, 6, 1, 8, 3, 4, 0xff, 0, 0, 0, 11, 7, 200, 6]),
    // Slots and ring pointers out of bounds.
    Uint8Array.from([2 + 0x41, 7, 0, 0, 0x21, 1, 2, 7, 1, 0, 1, 1, 3 + 0x4e, 0, 1, 0xff, 0xff, 0, 0, 9, 70, 0]),
  ],
};
