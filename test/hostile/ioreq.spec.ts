/**
 * The ioreq pages rewritten in flight by a hostile party, between every two steps of a request, with the real vCPU and device
 * model at its two ends. Nobody in the guest can reach the pages; whoever else holds them must hurt that guest alone.
 */
import { describe, expect, it } from 'vitest';
import {
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_SLOT_NUM,
  BUFIOREQ_SLOTS,
  BUFIOREQ_WRITE_POINTER,
  IOREQ_ADDR,
  IOREQ_COUNT,
  IOREQ_DATA,
  IOREQ_DATA_IS_PTR,
  IOREQ_DF,
  IOREQ_DIR_SHIFT,
  IOREQ_READ,
  IOREQ_SIZE_FIELD,
  IOREQ_STATE_SHIFT,
  IOREQ_VP_EPORT,
  IoreqState,
  ioreqState,
  IoreqType,
  stateAt,
  withState,
} from '../../src/abi/ioreq.ts';
import type { RunOutcome } from '../../src/machine/exit-status.ts';
import type { InlineMachine } from '../../src/machine/machine.ts';
import { plainGuest, powerOff, print } from '../plain-guest.ts';
import { BAR, type HostileRun, ioreqPages, runHostile } from './machine.ts';

/** Reads, writes, ports, strings and buffered writes, over and over; it goes on whatever it gets. */
const guest = plainGuest(`
  mov esp, 0x90000
  mov ebp, 20
again:
  mov eax, [${BAR + 8}]
  mov dword [${BAR + 8}], 0x12345678
  mov edx, 0xc008
  in eax, dx
  out dx, eax
  mov dword [0xb8000], 0x07410741
  mov esi, ${BAR + 8}
  mov edi, 0x80000
  mov ecx, 8
  rep movsb
  dec ebp
  jne again
  ${print('done\n')}
  ${powerOff}
`);

/** One request's words, as a hostile party sees and changes them. */
class Slot {
  readonly words: Int32Array;
  readonly at: number;
  readonly ring: number;

  constructor(machine: InlineMachine) {
    const { sync, buffered } = ioreqPages(machine);
    this.words = machine.memory.i32;
    this.at = sync >>> 2;
    this.ring = buffered >>> 2;
  }

  get state(): number {
    return ioreqState(this.words[stateAt(this.at)]!);
  }

  set state(state: number) {
    const at = stateAt(this.at);
    this.words[at] = withState(this.words[at]!, state);
  }

  flags(bits: number): void {
    this.words[stateAt(this.at)]! |= bits << IOREQ_STATE_SHIFT;
  }

  type(type: number): void {
    const at = stateAt(this.at);
    this.words[at] = (this.words[at]! & 0xffffff) | (type << 24);
  }

  set(field: number, value: number): void {
    this.words[this.at + field / 4] = value;
  }

  setRing(field: number, value: number): void {
    this.words[this.ring + field / 4] = value;
  }

  getRing(field: number): number {
    return this.words[this.ring + field / 4]!;
  }
}

type Tamper = (slot: Slot, turn: number) => void;
type When = 'sent, not taken yet' | 'in service' | 'answered, not seen yet';

/** Run the guest with a party that rewrites the pages at this point of every request from the fourth on. */
function tampered(when: When, tamper: Tamper): HostileRun {
  let slot: Slot;
  let turns = 0;
  return runHostile(guest, {
    prepare: (machine) => {
      slot = new Slot(machine);
      const { deviceModel } = machine;
      const serve = deviceModel.runUntilIdle.bind(deviceModel);
      deviceModel.runUntilIdle = () => {
        const asked = slot.state === IoreqState.ready;
        if (asked) turns++;
        if (when === 'sent, not taken yet' && asked && turns > 3) tamper(slot, turns);
        const idle = serve();
        if (when === 'answered, not seen yet' && asked && turns > 3) tamper(slot, turns);
        return idle;
      };
    },
    onLogLine: () => {
      if (when === 'in service' && slot.state === IoreqState.inProcess && turns > 3) tamper(slot, turns);
    },
  });
}

/** A dead domain says why, with registers and code; a living one did all it had to. Where no request arrives as sent, neither does the one to power off: the guest halts. */
function check(run: HostileRun, outcomes: readonly RunOutcome[]): void {
  expect(outcomes).toContain(run.outcome);
  if (run.outcome === 'poweroff') expect(run.console).toBe('done\n');
  if (run.outcome === 'crash') {
    expect(run.log).toMatch(/Domain 1 \(vcpu#0\) crashed on cpu#0:/);
    expect(run.log).toMatch(/RIP: +0008:\[<[0-9a-f]+>\]|RIP: +[0-9a-f]{4}:\[<[0-9a-f]+>\]/);
    expect(run.log).toMatch(/Code around RIP:\n[\s\S]*> /);
  }
}

describe('a synchronous request', () => {
  it.each<[When, string, Tamper, RunOutcome[]]>([
    ['sent, not taken yet', 'taken back', (s) => (s.state = IoreqState.none), ['crash']],
    ['sent, not taken yet', 'said to be in service', (s) => (s.state = IoreqState.inProcess), ['crash']],
    ['sent, not taken yet', 'said to be answered', (s) => (s.state = IoreqState.respReady), ['crash']],
    ['sent, not taken yet', 'in a state that does not exist', (s) => (s.state = 9), ['crash']],
    ['sent, not taken yet', 'of an unknown type', (s) => s.type(0x55), ['crash']],
    ['sent, not taken yet', 'turned into an INVALIDATE', (s) => s.type(IoreqType.invalidate), ['halted']],
    ['sent, not taken yet', 'turned into a configuration access', (s) => s.type(IoreqType.pciConfig), ['poweroff', 'crash']],
    ['sent, not taken yet', 'with 2^32 - 1 repetitions', (s) => s.set(IOREQ_COUNT, -1), ['crash']],
    ['sent, not taken yet', 'with no repetition', (s) => s.set(IOREQ_COUNT, 0), ['poweroff']],
    ['sent, not taken yet', 'of 2^32 - 1 bytes', (s) => s.set(IOREQ_SIZE_FIELD, -1), ['crash']],
    ['sent, not taken yet', 'of no bytes', (s) => s.set(IOREQ_SIZE_FIELD, 0), ['crash']],
    ['sent, not taken yet', 'of 3 bytes', (s) => s.set(IOREQ_SIZE_FIELD, 3), ['crash']],
    [
      'sent, not taken yet',
      'at the top of the 64-bit space',
      (s) => {
        s.set(IOREQ_ADDR, -8);
        s.set(IOREQ_ADDR + 4, -1);
      },
      ['halted'],
    ],
    [
      'sent, not taken yet',
      'with its data by pointer at the NIC itself',
      (s) => {
        s.flags(IOREQ_DATA_IS_PTR);
        s.set(IOREQ_DATA, BAR | 0);
        s.set(IOREQ_DATA + 4, 0);
      },
      ['halted'],
    ],
    [
      'sent, not taken yet',
      'with its data by pointer beyond 52 bits',
      (s) => {
        s.flags(IOREQ_DATA_IS_PTR | IOREQ_DF);
        s.set(IOREQ_DATA, -1);
        s.set(IOREQ_DATA + 4, -1);
      },
      ['halted'],
    ],
    [
      'sent, not taken yet',
      'with its data by pointer at machine address 0',
      (s) => {
        s.flags(IOREQ_DATA_IS_PTR | (IOREQ_READ << IOREQ_DIR_SHIFT));
        s.set(IOREQ_DATA, 0);
        s.set(IOREQ_DATA + 4, 0);
      },
      ['halted'],
    ],
    ['in service', 'taken back', (s) => (s.state = IoreqState.none), ['crash']],
    ['in service', 'asked anew', (s) => (s.state = IoreqState.ready), ['crash']],
    ['in service', 'said to be answered', (s) => (s.state = IoreqState.respReady), ['crash']],
    ['in service', 'in a state that does not exist', (s) => (s.state = 15), ['crash']],
    [
      'in service',
      'with other address, data, count and size',
      (s) => [IOREQ_ADDR, IOREQ_DATA, IOREQ_COUNT, IOREQ_SIZE_FIELD].forEach((field) => s.set(field, -1)),
      ['poweroff'],
    ],
    ['in service', 'with another port to notify', (s) => s.set(IOREQ_VP_EPORT, 4095), ['crash', 'poweroff']],
    ['answered, not seen yet', 'taken back', (s) => (s.state = IoreqState.none), ['poweroff']],
    ['answered, not seen yet', 'asked anew', (s) => (s.state = IoreqState.ready), ['crash', 'poweroff']],
    ['answered, not seen yet', 'in service again', (s) => (s.state = IoreqState.inProcess), ['crash']],
    ['answered, not seen yet', 'in a state that does not exist', (s) => (s.state = 4), ['crash']],
    [
      'answered, not seen yet',
      'with other data',
      (s) => {
        s.set(IOREQ_DATA, 0x5a5a5a5a);
        s.set(IOREQ_DATA + 4, -1);
      },
      ['poweroff'],
    ],
    ['answered, not seen yet', "with a port that is not the vCPU's", (s) => s.set(IOREQ_VP_EPORT, 0x7fffffff), ['crash']],
  ])('%s: %s', (when, _what, tamper, outcomes) => {
    check(tampered(when, tamper), outcomes);
  });

  it('in every state by turns, forward and back: the states seen may only rise (XSA-262)', () => {
    for (const first of [0, 1, 2, 3, 4]) {
      for (const second of [0, 1, 2, 3])
        check(
          tampered('answered, not seen yet', (slot, turn) => (slot.state = turn % 2 ? first : second)),
          ['crash', 'poweroff'],
        );
    }
  });
});

describe('the buffered page', () => {
  it.each<[string, Tamper, RunOutcome[]]>([
    ['write pointer far ahead', (s) => s.setRing(BUFIOREQ_WRITE_POINTER, 0x40000000), ['crash']],
    [
      'write pointer one more than the ring holds',
      (s) => s.setRing(BUFIOREQ_WRITE_POINTER, s.getRing(BUFIOREQ_READ_POINTER) + BUFIOREQ_SLOT_NUM + 1),
      ['crash'],
    ],
    [
      'write pointer behind the read pointer',
      (s) => s.setRing(BUFIOREQ_WRITE_POINTER, s.getRing(BUFIOREQ_READ_POINTER) - 1),
      ['crash'],
    ],
    ['read pointer moved', (s) => s.setRing(BUFIOREQ_READ_POINTER, s.getRing(BUFIOREQ_READ_POINTER) + 3), ['crash']],
    [
      'both pointers all ones',
      (s) => {
        s.setRing(BUFIOREQ_READ_POINTER, -1);
        s.setRing(BUFIOREQ_WRITE_POINTER, -1);
      },
      ['crash', 'poweroff'],
    ],
    [
      'slots of garbage',
      (s, turn) => {
        for (let i = 0; i < BUFIOREQ_SLOT_NUM * 8; i += 4) s.setRing(BUFIOREQ_SLOTS + i, Math.imul(turn * 8191 + i, 0x9e3779b1));
        s.setRing(BUFIOREQ_WRITE_POINTER, s.getRing(BUFIOREQ_READ_POINTER) + BUFIOREQ_SLOT_NUM);
      },
      ['crash'],
    ],
    [
      'slots full of 8-byte halves without their other half',
      (s) => {
        for (let i = 0; i < BUFIOREQ_SLOT_NUM; i++)
          s.setRing(BUFIOREQ_SLOTS + i * 8, (0xa0000 << 12) | (3 << 10) | IoreqType.copy);
        s.setRing(BUFIOREQ_WRITE_POINTER, s.getRing(BUFIOREQ_READ_POINTER) + 1);
      },
      ['crash'],
    ],
  ])('%s', (_what, tamper, outcomes) => {
    check(tampered('sent, not taken yet', tamper), outcomes);
    check(tampered('answered, not seen yet', tamper), ['crash', 'poweroff']);
  });
});

describe('a device model that never answers', () => {
  it('while a timer of its own keeps it busy: the domain dies, the host does not wait for ever', () => {
    // TimerInt of the NIC fires every 128 s of the clock and is set anew each time.
    const run = runHostile(
      plainGuest(`
      mov dword [${BAR + 0x54}], 0x100
      mov ebp, 3
    again:
      mov eax, [${BAR + 8}]
      dec ebp
      jne again
      ${powerOff}
    `),
      {
        prepare: (machine) => {
          const slot = new Slot(machine);
          const { deviceModel } = machine;
          const serve = deviceModel.runUntilIdle.bind(deviceModel);
          let turns = 0;
          deviceModel.runUntilIdle = () => {
            if (slot.state === IoreqState.ready && ++turns > 1) slot.state = IoreqState.none;
            return serve();
          };
        },
      },
    );
    check(run, ['crash']);
    expect(run.log).toMatch(/does not answer/);
  });
});
