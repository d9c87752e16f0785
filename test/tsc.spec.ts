/** The guest writes its TSC, and what counts on it follows: RDTSC, RDTSCP, both MSRs, the deadline timer, the paravirtual clock. */
import { expect, it } from 'vitest';
import { VCPU_INFO_TIME } from '../src/abi/event-channel.ts';
import { runHostile } from './hostile/machine.ts';
import { lapic, lapicOn, longGuest, LongGuest, LVTT_TSC_DEADLINE, powerOff } from './plain-guest.ts';

const at = 0x80000;
/** RDX:RAX, as RDTSC and RDMSR give it, to the nth result. */
const keep = (n: number): string => `mov [${at + n * 8}], eax\nmov [${at + n * 8 + 4}], edx\n`;
const wrmsr = (msr: number, value: bigint): string =>
  `mov ecx, ${msr}\nmov eax, ${value & 0xffffffffn}\nmov edx, ${value >> 32n}\nwrmsr\n`;
const rdmsr = (msr: number): string => `mov ecx, ${msr}\nrdmsr\n`;
const TSC = 0x10;
const TSC_ADJUST = 0x3b;

function results(source: string): { value(n: number): bigint; run: ReturnType<typeof runHostile> } {
  const run = runHostile(longGuest(`${source}\n${powerOff}`));
  expect(run.outcome).toBe('poweroff');
  return { run, value: (n) => (BigInt(run.word(at + n * 8 + 4)) << 32n) | BigInt(run.word(at + n * 8)) };
}

it('IA32_TSC sets what RDTSC, RDTSCP and RDMSR read, across 2^32 and 2^64', () => {
  const start = 0x1234_5678_ffff_ff00n;
  const { value } = results(`
    ${wrmsr(TSC, start)}
    rdtsc
    ${keep(0)}
    db 0x0f, 0x01, 0xf9
    ${keep(1)}
    ${rdmsr(TSC)}
    ${keep(2)}
    ${wrmsr(TSC, 0xffff_ffff_ffff_fff0n)}
    rdtsc
    ${keep(3)}
  `);
  for (const n of [0, 1, 2]) expect(value(n) - start).toBeGreaterThan(n === 0 ? 0n : value(n - 1) - start);
  expect(value(2) - start).toBeLessThan(100_000n);
  expect(value(3)).toBeLessThan(100_000n);
});

it('IA32_TSC_ADJUST tells what was added, and adds', () => {
  const { value } = results(`
    rdtsc
    ${keep(0)}
    ${rdmsr(TSC_ADJUST)}
    ${keep(1)}
    ${wrmsr(TSC_ADJUST, 1n << 40n)}
    rdtsc
    ${keep(2)}
    ${wrmsr(TSC, 5n << 40n)}
    ${rdmsr(TSC_ADJUST)}
    ${keep(3)}
    ${wrmsr(TSC_ADJUST, 0n)}
    rdtsc
    ${keep(4)}
    mov eax, 7
    mov ecx, 0
    cpuid
    mov [${at + 40}], ebx
  `);
  expect(value(1)).toBe(0n);
  expect(value(2) >> 40n).toBe(1n);
  // 5·2^40 minus the machine's own count, which is small.
  expect((5n << 40n) - value(3)).toBeLessThan(1n << 30n);
  expect(value(4) - value(0)).toBeLessThan(1_000_000n);
  expect((value(5) >> 1n) & 1n).toBe(1n);
});

it('the TSC deadline is of the TSC the guest reads, and its paravirtual clock still tells the time', () => {
  const { run, value } = results(`
    ${wrmsr(TSC, 1n << 44n)}
    mov qword [0x82000], 0x7ff0
    mov qword [0x82008], 0
    mov qword [0x82010], 0x300
    mov eax, 12
    mov edi, 7
    mov esi, 0x82000
    vmcall
    mov [${at + 8}], eax
    ${lapicOn}
    ${lapic('APIC_LVTT', LVTT_TSC_DEADLINE | 0x40)}
    rdtsc
    add eax, 1000000
    mov ecx, 0x6e0
    wrmsr
    sti
  sleep:
    hlt
    mov eax, [${LongGuest.interrupts}]
    cmp eax, 0
    je sleep
    rdtsc
    ${keep(0)}
  `);
  expect(run.word(LongGuest.interrupts)).toBe(1);
  expect(value(0) - (1n << 44n)).toBeGreaterThan(1_000_000n);
  expect(value(0) - (1n << 44n)).toBeLessThan(2_000_000n);
  expect(run.word(at + 8)).toBe(0);
  const time = run.machine.memory.view;
  const info = run.machine.domain.vcpus[0]!.vcpuInfo + VCPU_INFO_TIME;
  const { mul, shift } = { mul: BigInt(time.getUint32(info + 24, true)), shift: BigInt(time.getInt8(info + 28)) };
  const ticks = value(0) - time.getBigUint64(info + 8, true);
  const ns = time.getBigUint64(info + 16, true) + (((shift < 0n ? ticks >> -shift : ticks << shift) * mul) >> 32n);
  // What the guest computes from it is the machine's time: not long before its end.
  expect(run.machine.clock.nowNs() - Number(ns)).toBeGreaterThan(0);
  expect(run.machine.clock.nowNs() - Number(ns)).toBeLessThan(1e6);
});
