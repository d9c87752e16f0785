import { describe, expect, it } from 'vitest';
import { ExitReason, type VmExit } from '../../cpu/interface.ts';
import { RecentExits } from './recent-exits.ts';
import { LOOP_INSTRUCTIONS, SilentLoop } from './silent-loop.ts';

const STEP = LOOP_INSTRUCTIONS / 100;
const IF = 0x200;

/** What is said of a guest that runs on, `rips` giving where it stands after each step. */
function said(rips: (i: number) => bigint, rflags: (i: number) => number = () => 2, exits: (i: number) => boolean = () => false) {
  const loop = new SilentLoop();
  const lines: string[] = [];
  for (let i = 0; i < 250; i++) {
    if (exits(i)) loop.exited();
    const line = loop.ran(rips(i), rflags(i), i * STEP);
    if (line !== undefined) lines.push(line);
  }
  return lines;
}

describe('a silent loop', () => {
  it('is told of once', () => {
    expect(said((i) => 0x1000n + BigInt(i % 3) * 16n)).toEqual([
      'has run 1000 million instructions around rip 0x1000 with interrupts off and without a VM exit: it loops, and nothing outside it can end that',
    ]);
  });

  it('is none where interrupts can come, where the guest leaves, or where it gets about', () => {
    expect(
      said(
        () => 0x1000n,
        () => IF,
      ),
    ).toEqual([]);
    expect(
      said(
        () => 0x1000n,
        (i) => (i % 90 === 0 ? IF : 0),
      ),
    ).toEqual([]);
    expect(
      said(
        () => 0x1000n,
        undefined,
        (i) => i % 90 === 0,
      ),
    ).toEqual([]);
    expect(said((i) => 0x1000n + BigInt(i) * 4n)).toEqual([]);
    expect(said((i) => (i % 50 === 0 ? 0xffffffff81000000n : 0x1000n))).toEqual([]);
  });
});

describe('the last exits', () => {
  it('are kept with what they were, the oldest first', () => {
    const recent = new RecentExits();
    const exit = { reason: ExitReason.cpuid, rip: 0n, qualification: 0, gpa: 0, port: 0, isWrite: false } as unknown as VmExit;
    for (let i = 0; i < 40; i++) {
      exit.rip = BigInt(i) as VmExit['rip'];
      exit.reason = i % 2 ? ExitReason.ioInstruction : ExitReason.eptViolation;
      exit.port = 0x3f8;
      exit.gpa = 0xf0000000 as VmExit['gpa'];
      exit.isWrite = i === 39;
      recent.record(exit, i * 1e9);
    }
    const lines = recent.lines();
    expect([recent.total, lines.length]).toEqual([40, 16]);
    expect(lines[0]).toBe('  24.000000000 s  rip 0000000000000018  eptViolation (48) read gpa 0xf0000000');
    expect(lines[15]).toBe('  39.000000000 s  rip 0000000000000027  ioInstruction (30) write port 0x3f8');
  });
});
