import { describe, expect, it } from 'vitest';
import { gfn, type Gpa, gpa, INVALID_MFN, type Mfn, mfn } from '../../base/address.ts';
import { Reg, type SegmentState, type VcpuRegisters } from '../../cpu/interface.ts';
import { HvmParam, specialPfn } from '../domain/hvm-params.ts';
import { MachineMemory } from '../mm/memory.ts';
import { P2m } from '../mm/p2m.ts';
import { PageAllocator } from '../mm/page-alloc.ts';
import { DomainBuilder, type DomainConfig } from './domain-builder.ts';
import { readElf } from './elf.ts';
import { GuestRam } from './guest-ram.ts';
import { buildE820, E820, GuestLayout, ramRuns } from './layout.ts';

/** A 32-bit ELF with one segment at 1 MiB, entered 0x10 above, and a PVH entry 0x20 above. */
function elf32(memorySize = 0x3000, address = 0x100000): Uint8Array {
  const file = new Uint8Array(0x200);
  const v = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  v.setUint16(18, 3, true);
  v.setUint32(24, address + 0x10, true);
  v.setUint32(28, 52, true);
  v.setUint16(42, 32, true);
  v.setUint16(44, 2, true);
  [1, 0x100, address, address, 0x100, memorySize, 7, 0].forEach((w, i) => v.setUint32(52 + i * 4, w, true));
  [4, 0xc0, 0, 0, 20, 20, 4, 4].forEach((w, i) => v.setUint32(84 + i * 4, w, true));
  [4, 4, 18, 0x006e6558, address + 0x20].forEach((w, i) => v.setUint32(0xc0 + i * 4, w, true));
  file.fill(0xab, 0x100);
  return file;
}

const machine = (config: Partial<DomainConfig> = {}) => {
  const memory = MachineMemory.create({ frames: 0x1400, maxGfn: 0x100000 });
  const p2m = new P2m(memory, new PageAllocator(memory, 3), 1, 0);
  const params = new Map<number, number>();
  const builder = new DomainBuilder(
    { memory, p2m, setParam: (index, lo) => params.set(index, lo) },
    {
      memoryMiB: 16,
      vcpus: 1,
      type: 'hvm',
      kernel: { kind: 'elf', elf: readElf(elf32()) },
      commandLine: 'ping=3',
      hpet: true,
      ...config,
    },
  );
  return { memory, p2m, params, builder, ram: new GuestRam(memory, p2m) };
};

/** Registers that remember what was set. */
const registers = () => {
  const segments: SegmentState[] = [];
  const gprs: bigint[] = [];
  const r = {
    setGpr: (i: number, v: bigint) => void (gprs[i] = v),
    setSegment: (i: number, s: SegmentState) => void (segments[i] = s),
  } as unknown as VcpuRegisters;
  return { r, gprs, segments };
};

const u32 = (bytes: Uint8Array, at = 0): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);

describe('guest physical address space', () => {
  it('has RAM around the VGA hole, below the MMIO hole and above 4 GiB', () => {
    expect(ramRuns(16)).toEqual([
      [0, 0xa0],
      [0xc0, 0xf40],
    ]);
    expect(ramRuns(5000)).toEqual([
      [0, 0xa0],
      [0xc0, 0xf0000 - 0xc0],
      [0x100000, 5000 * 256 - 0xf0000],
    ]);
    expect(() => ramRuns(3.5)).toThrow('memory = 3.5');
  });

  it('tells a map without overlap that covers all RAM', () => {
    for (const memoryMiB of [16, 3840, 5000]) {
      const map = buildE820(memoryMiB);
      let end = 0;
      for (const { address, size } of map) {
        expect(address).toBeGreaterThanOrEqual(end);
        end = address + size;
      }
      for (const { address, size, type } of map) {
        if (type === E820.ram)
          expect(
            ramRuns(memoryMiB).some(([first, count]) => first * 4096 <= address && (first + count) * 4096 >= address + size),
          ).toBe(true);
      }
    }
  });
});

describe('domain builder', () => {
  it('gives RAM and special pages, and leaves the holes empty', () => {
    const m = machine();
    m.builder.build();
    expect(m.p2m.getMfn(gfn(0xa0))).toBe(INVALID_MFN);
    expect(m.p2m.getMfn(gfn(0xf0000))).toBe(INVALID_MFN);
    expect(m.p2m.getMfn(gfn(0xfff))).not.toBe(INVALID_MFN);
    expect(m.p2m.getMfn(gfn(0x1000))).toBe(INVALID_MFN);
    expect([m.params.get(HvmParam.ioreqPfn), m.params.get(HvmParam.bufioreqPfn), m.params.get(HvmParam.ioreqServerPfn)]).toEqual([
      0xfeffd, 0xfeffb, 0xfeff0,
    ]);
    expect(m.params.get(HvmParam.identPt)).toBe(specialPfn(6) * 4096);
    expect(u32(m.ram.read(gpa(0xfeffe000 + 4), 4))).toBe(0x4000e7);
    for (let page = 0xfeff0; page < 0xff000; page++) expect(m.p2m.getMfn(gfn(page))).not.toBe(INVALID_MFN);
  });

  it('enters a 32-bit ELF at e_entry, flat and unpaged, with start_info in EBX', () => {
    const m = machine({ ramdisk: new Uint8Array(5000).fill(7) });
    m.builder.build();
    const { r, gprs, segments } = registers();
    m.builder.enter(r);
    expect([r.rip, r.cr0, r.cr4, r.efer, r.rflags]).toEqual([0x100010n, 0x11, 0, 0, 2]);
    expect(segments[1]).toEqual({ selector: 0, base: 0n, limit: 0xffffffff, accessRights: 0xc09b });
    expect(m.ram.read(gpa(0x100000), 0x101).at(-2)).toBe(0xab);
    const info = m.ram.read(gpa(Number(gprs[3])), 56);
    expect([u32(info), u32(info, 4), u32(info, 12), u32(info, 48)]).toEqual([0x336ec578, 1, 1, 5]);
    expect(Buffer.from(m.ram.read(gpa(u32(info, 24)), 7)).toString()).toBe('ping=3\0');
    const module = m.ram.read(gpa(u32(info, 16)), 32);
    expect([u32(module) % 4096, u32(module, 8)]).toEqual([0, 5000]);
    expect(m.ram.read(gpa(u32(module) + 4999), 1)[0]).toBe(7);
    expect(Buffer.from(m.ram.read(gpa(u32(info, 32)), 8)).toString()).toBe('RSD PTR ');
    expect(u32(m.ram.read(gpa(u32(info, 40)), 24), 8)).toBe(GuestLayout.ebda);
  });

  it('enters by the PVH note for type pvh only', () => {
    const m = machine({ type: 'pvh' });
    m.builder.build();
    const { r } = registers();
    m.builder.enter(r);
    expect(r.rip).toBe(0x100020n);
    const noNote = elf32();
    noNote.fill(0, 0xc0, 0xd4);
    expect(() => machine({ type: 'pvh', kernel: { kind: 'elf', elf: readElf(noNote) } }).builder.build()).toThrow('no PVH note');
  });

  it('enters a bzImage in long mode over identity page tables, with boot_params in RSI', () => {
    const setupHeader = new Uint8Array(0x80);
    setupHeader[0x210 - 0x1f1] = 0x77;
    const kernel = {
      kind: 'bzimage' as const,
      setupHeader,
      kernel: new Uint8Array(0x1000).fill(0xcc),
      has64bitEntry: true,
      loadAddress: 0x200000,
      initSize: 0x300000,
    };
    const m = machine({ kernel, ramdisk: new Uint8Array(10) });
    m.builder.build();
    const { r, gprs, segments } = registers();
    m.builder.enter(r);
    expect([r.rip, r.cr0, r.cr4, r.efer, r.cr3]).toEqual([0x200200n, 0x80000011, 0x20, 0x500, 0x8000n]);
    expect([segments[1]?.accessRights, segments[1]?.selector, segments[3]?.selector]).toEqual([0xa09b, 0x10, 0x18]);
    const params = m.ram.read(gpa(Number(gprs[6])), 4096);
    expect([params[0x210], params[0x1e8], u32(params, 0x228), u32(params, 0x21c), u32(params, 0x70)]).toEqual([
      0xff, 5, 0x20000, 10, 0xf5b50,
    ]);
    // Walk the tables for an address in the last gigabyte.
    const pdpt = u32(m.ram.read(gpa(0x8000), 8)) & ~0xfff;
    const pd = u32(m.ram.read(gpa(pdpt + 3 * 8), 8)) & ~0xfff;
    expect(u32(m.ram.read(gpa(pd + 0x1f7 * 8), 8))).toBe(0xfee00083);
  });

  it('enters a kernel without a 64-bit entry by the 32-bit boot protocol, with boot_params in ESI', () => {
    const setupHeader = new Uint8Array(0x80);
    new DataView(setupHeader.buffer).setUint32(0x202 - 0x1f1, 0x53726448, true);
    for (const kernel of [
      {
        kind: 'bzimage' as const,
        setupHeader,
        kernel: new Uint8Array(0x1000),
        has64bitEntry: false,
        loadAddress: 0x100010,
        initSize: 0x1000,
      },
      { kind: 'elf' as const, elf: readElf(elf32()), setupHeader },
    ]) {
      const m = machine({ kernel });
      m.builder.build();
      const { r, gprs, segments } = registers();
      m.builder.enter(r);
      expect([r.rip, r.cr0, r.efer, r.gdtrBase, r.gdtrLimit, r.rflags]).toEqual([0x100010n, 0x11, 0, 0x1000n, 31, 2]);
      expect([Reg.rbx, Reg.rbp, Reg.rdi].map((reg) => gprs[reg])).toEqual([0n, 0n, 0n]);
      expect([segments[1]?.selector, segments[1]?.accessRights, segments[2]?.selector, segments[3]?.selector]).toEqual([
        0x10, 0xc09b, 0x18, 0x18,
      ]);
      expect(m.ram.read(gpa(0x1010), 8)).toEqual(Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0));
      const params = m.ram.read(gpa(Number(gprs[Reg.rsi])), 4096);
      expect([u32(params, 0x202), u32(params, 0x228)]).toEqual([0x53726448, 0x20000]);
    }
  });

  it('says in one line what does not fit', () => {
    expect(() => machine({ kernel: { kind: 'elf', elf: readElf(elf32(0x2000000)) } }).builder.build()).toThrow(
      /RAM for it is from 0x100000 to 0x1000000/,
    );
    expect(() => machine({ kernel: { kind: 'elf', elf: readElf(elf32(0x1000, 0xa0000)) } }).builder.build()).toThrow(
      /wants guest-physical 0xa0000/,
    );
    expect(() => machine({ ramdisk: new Uint8Array(16 << 20) }).builder.build()).toThrow(/too little for the kernel/);
    expect(() => machine({ memoryMiB: 64 }).builder.build()).toThrow(/give the guest less memory/);
    expect(() => machine({ commandLine: 'x'.repeat(5000) }).builder.build()).toThrow(/command line is 5000 bytes/);
    expect(() => readElf(elf32().subarray(0, 0x180), 'k')).toThrow(/^k: ELF segment 0 .* cut short$/);
    expect(() => readElf(new Uint8Array(64))).toThrow('not an ELF image');
  });

  it('survives an ELF whose notes lie about their lengths', () => {
    const file = elf32();
    new DataView(file.buffer).setUint32(0xc0, 0xfffffff0, true);
    expect(readElf(file).pvhEntry).toBeUndefined();
  });

  it('keeps guest-physical and machine frames apart at compile time', () => {
    const m = machine();
    m.builder.build();
    const frame: Mfn = m.p2m.getMfn(gfn(0x100));
    const address: Gpa = gpa(0x100000);
    // @ts-expect-error A machine frame is no guest-physical address.
    expect(() => m.ram.read(frame, 1)).toBeDefined();
    // @ts-expect-error A guest-physical address is no guest frame.
    expect(m.p2m.getMfn(address)).toBeDefined();
    // @ts-expect-error A machine frame is no guest frame.
    expect(m.p2m.getMfn(mfn(1))).toBeDefined();
    expect(frame).not.toBe(0x100);
  });
});
