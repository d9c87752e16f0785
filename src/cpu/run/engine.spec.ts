import { describe, expect, it } from 'vitest';
import { ExitReason, Reg, Seg } from '../interface.ts';
import { BenchMachine, CODE_GPA, DATA_GPA } from '../testing/bench-machine.ts';

describe('vCPU', () => {
  it('runs a loop and leaves by VMCALL', () => {
    const m = new BenchMachine();
    // mov ecx,1000; xor eax,eax; l: add rax,rcx; dec ecx; jnz l; vmcall
    m.enterLongMode([0xb9, 0xe8, 3, 0, 0, 0x31, 0xc0, 0x48, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xf9, 0x0f, 0x01, 0xc1]);
    expect(m.vcpu.run(100_000)).toBe(ExitReason.vmcall);
    expect(m.vcpu.registers.getGpr(Reg.rax)).toBe(500500n);
    expect(m.vcpu.exit.instructionLength).toBe(3);
    expect(m.vcpu.instructions).toBe(3002);
    m.vcpu.skipInstruction();
    expect(m.vcpu.registers.rip).toBe(BigInt(CODE_GPA + 17));
  });

  it('stops when the budget is used up and goes on from there', () => {
    const m = new BenchMachine();
    m.enterLongMode([0xff, 0xc0, 0xeb, 0xfc]); // inc eax; jmp
    expect(m.vcpu.run(1000)).toBe(ExitReason.budget);
    expect(m.vcpu.registers.getGpr(Reg.rax)).toBe(500n);
    expect(m.vcpu.run(1000)).toBe(ExitReason.budget);
    expect(m.vcpu.registers.getGpr(Reg.rax)).toBe(1000n);
  });

  it('leaves by EPT violation where the p2m has nothing, and takes the completed read', () => {
    const m = new BenchMachine();
    m.permissions[DATA_GPA >> 12] = 0;
    // mov eax,[0x100010]; add eax,1; vmcall
    m.enterLongMode([0x8b, 0x04, 0x25, 0x10, 0x00, 0x10, 0x00, 0x83, 0xc0, 0x01, 0x0f, 0x01, 0xc1]);
    expect(m.vcpu.run(1000)).toBe(ExitReason.eptViolation);
    const { exit } = m.vcpu;
    expect([exit.gpa, exit.size, exit.isWrite, exit.qualification]).toEqual([DATA_GPA + 0x10, 4, false, 0x181]);
    m.vcpu.completeAccess(0x41, 0);
    expect(m.vcpu.run(1000)).toBe(ExitReason.vmcall);
    expect(m.vcpu.registers.getGpr(Reg.rax)).toBe(0x42n);
  });

  it('runs memory code: push, call, ret, string moves', () => {
    const m = new BenchMachine();
    m.write(
      DATA_GPA,
      Array.from({ length: 300 }, (_, i) => i & 0xff),
    );
    // mov esi,0x100000; mov edi,0x102ff0; mov ecx,300; rep movsb; push rdi; pop rax; call +1; nop?; vmcall
    m.enterLongMode([
      0xbe, 0, 0, 0x10, 0, 0xbf, 0xf0, 0x2f, 0x10, 0, 0xb9, 0x2c, 1, 0, 0, 0xf3, 0xa4, 0x57, 0x58, 0xe8, 0x03, 0, 0, 0, 0x0f,
      0x01, 0xc1, 0xbb, 7, 0, 0, 0, 0xc3,
    ]);
    expect(m.vcpu.run(10000)).toBe(ExitReason.vmcall);
    expect(m.vcpu.registers.getGpr(Reg.rax)).toBe(0x10311cn);
    expect(m.vcpu.registers.getGpr(Reg.rbx)).toBe(7n);
    for (let i = 0; i < 300; i++) expect(m.u8[m.maddrOf(0x102ff0 + i)]).toBe(i & 0xff);
  });

  it("comes to its budget's end in a guest that does nothing but fault", () => {
    const m = new BenchMachine();
    m.enterLongMode([0x0f, 0x0b]); // ud2
    // Vector 6 leads back to the ud2; a TSS gives it the same stack each time (IST 1).
    const { registers: r } = m.vcpu;
    r.idtrBase = BigInt(DATA_GPA);
    r.idtrLimit = 0xfff;
    m.writeU64(
      DATA_GPA + 0x60,
      BigInt(CODE_GPA & 0xffff) | (8n << 16n) | (1n << 32n) | (0x8en << 40n) | (BigInt(CODE_GPA >> 16) << 48n),
    );
    r.gdtrBase = BigInt(DATA_GPA + 0x1000);
    r.gdtrLimit = 0x17;
    m.writeU64(DATA_GPA + 0x1008, 0x00af9b000000ffffn);
    r.setSegment(Seg.tr, { selector: 0x18, base: BigInt(DATA_GPA + 0x2000), limit: 0x67, accessRights: 0x8b });
    m.writeU64(DATA_GPA + 0x2024, BigInt(DATA_GPA + 0x4000));
    expect(m.vcpu.run(1000)).toBe(ExitReason.budget);
    expect(r.rip).toBe(BigInt(CODE_GPA));
    // The same where already the handler's fetch faults: page faults whose handler is not there.
    m.writeU64(DATA_GPA + 0xe0, (8n << 16n) | (1n << 32n) | (0x8en << 40n) | (0xf000n << 48n));
    r.rip = 0xf0000000n as typeof r.rip;
    expect(m.vcpu.run(1000)).toBe(ExitReason.budget);
  });
});
