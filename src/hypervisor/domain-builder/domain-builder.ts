/**
 * Makes a domain ready to run: what libxl and libxenguest do for an HVM guest (RAM, special pages, HVM parameters), then
 * hvmloader's work (PCI, ACPI tables, APICs), then the entry state of the kernel.
 */
import { HvmMemmapEntry, HvmModlistEntry, HvmStartInfo, XEN_HVM_START_MAGIC_VALUE } from '../../abi/start-info.ts';
import { gfn, gfnToGpa, type Gpa, gpa, gva, PAGE_SIZE } from '../../base/address.ts';
import { UserError } from '../../base/errors.ts';
import { Reg, Seg, type VcpuRegisters } from '../../cpu/interface.ts';
import { ShutdownReason } from '../../abi/sched.ts';
import { HvmParam, NR_SPECIAL_PAGES, SpecialPage, specialPfn } from '../domain/hvm-params.ts';
import type { MachineMemory } from '../mm/memory.ts';
import type { P2m } from '../mm/p2m.ts';
import { buildAcpiTables, IOAPIC_ID } from './acpi.ts';
import type { ElfImage } from './elf.ts';
import { GuestRam } from './guest-ram.ts';
import { buildE820, GuestLayout, ioreqServerPfn, NR_IOREQ_SERVER_PAGES, ramRuns } from './layout.ts';
import { MULTIBOOT_BOOTLOADER_MAGIC, type MultibootImage, multibootInfo, pageUp } from './multiboot.ts';
import { bootGdt, buildBootParams, identityPageTables } from './linux-boot.ts';
import { type PlacedBar, type PortIo, setUpPci } from './pci.ts';

/** The protected-mode part of a bzImage, as its setup header describes it. */
interface BzImageKernel {
  setupHeader: Uint8Array;
  kernel: Uint8Array;
  /** Entered at +0x200 in 64-bit mode; without that entry at its start, in 32-bit mode. */
  has64bitEntry: boolean;
  /** Where the kernel is loaded. */
  loadAddress: number;
  initSize: number;
}

/** `setupHeader` of an ELF image: that of the bzImage it was taken out of, a Linux by that. */
export type KernelImage =
  | { kind: 'elf'; elf: ElfImage; setupHeader?: Uint8Array }
  | { kind: 'multiboot'; image: MultibootImage }
  | ({ kind: 'bzimage' } & BzImageKernel);

export interface DomainConfig {
  memoryMiB: number;
  vcpus: number;
  /**
   * `hvm`: Linux (a 64-bit ELF or a bzImage) by the 64-bit boot protocol, or by the 32-bit one where it has no 64-bit entry; a
   * Multiboot image as its header says; any other 32-bit ELF at e_entry, with boot_params in ESI and the PVH start information in
   * EBX. `pvh`: any ELF by the entry of its PVH note.
   */
  type: 'hvm' | 'pvh';
  kernel: KernelImage;
  ramdisk?: Uint8Array;
  commandLine: string;
  /** The machine has an HPET. */
  hpet: boolean;
}

/** What the builder works on. */
export interface DomainBuilderTarget {
  memory: MachineMemory;
  p2m: Pick<P2m, 'populate' | 'ramAddress'>;
  /** HVMOP_set_param without its checks; values in two unsigned halves. */
  setParam(index: number, lo: number, hi: number): void;
}

/** Accesses of the firmware, along the way the guest's own take. */
export interface FirmwareIo extends PortIo {
  /** 32-bit store to guest-physical address space. */
  mmioWrite(address: Gpa, value: number): void;
}

interface Entry {
  /** `linux32`: protected mode as Linux' 32-bit boot protocol has it. */
  mode: 'long' | 'protected' | 'linux32';
  address: number;
  /** General registers that are not zero. */
  registers: Partial<Record<'rax' | 'rbx' | 'rsi', number>>;
}

const longEntry = (address: number): Entry => ({ mode: 'long', address, registers: { rsi: GuestLayout.bootParams } });
const protectedEntry = (address: number): Entry => ({
  mode: 'protected',
  address,
  registers: { rbx: GuestLayout.startInfo, rsi: GuestLayout.bootParams },
});
/** Linux' protocol wants zero in EBX, EBP and EDI. */
const linux32Entry = (address: number): Entry => ({ mode: 'linux32', address, registers: { rsi: GuestLayout.bootParams } });

export class DomainBuilder {
  private readonly config: DomainConfig;
  private readonly target: DomainBuilderTarget;
  private readonly ram: GuestRam;
  private entry: Entry | undefined;

  constructor(target: DomainBuilderTarget, config: DomainConfig) {
    this.target = target;
    this.config = config;
    this.ram = new GuestRam(target.memory, target.p2m);
  }

  /**
   * RAM, special pages, parameters, ACPI tables, kernel, ramdisk and boot information. Throws UserError when the guest's
   * images do not fit its memory or have no entry of the wanted type.
   */
  build(): void {
    for (const [first, count] of ramRuns(this.config.memoryMiB)) this.populate(first, count);
    this.populate(gfn(GuestLayout.acpiTables / PAGE_SIZE), GuestLayout.acpiTablesSize / PAGE_SIZE);
    this.setUpSpecialPages();
    this.writeAcpiTables();
    const { kernel, type } = this.config;
    if (kernel.kind === 'multiboot' && type === 'hvm') {
      this.entry = this.loadMultiboot(kernel.image);
      return;
    }
    const { entry, end } = this.loadKernel();
    this.entry = entry;
    this.writeBootInformation(this.loadRamdisk(end));
  }

  /** hvmloader's turn, once the device model serves requests. Gives where the BARs went. */
  setUpFirmware(io: FirmwareIo): PlacedBar[] {
    const bars = setUpPci(io);
    // The 8259s at the BIOS's vectors, all lines masked: no stray vector for a kernel that opens interrupts first.
    for (const [port, vector, cascade] of [
      [0x20, 0x08, 4],
      [0xa0, 0x70, 2],
    ] as const) {
      io.out(port, 1, 0x11);
      for (const value of [vector, cascade, 0x01, 0xff]) io.out(port + 1, 1, value);
    }
    // The IO-APIC gets the identifier the MADT tells.
    io.mmioWrite(gpa(0xfec00000), 0);
    io.mmioWrite(gpa(0xfec00010), IOAPIC_ID << 24);
    // Virtual wire: the 8259s through LINT0, NMI through LINT1.
    const lapic = (offset: number, value: number): void => io.mmioWrite(gpa(0xfee00000 + offset), value);
    lapic(0xf0, 0x1ff);
    lapic(0x350, 7 << 8);
    lapic(0x360, 4 << 8);
    return bars;
  }

  /** Put the boot vCPU at the kernel's entry. After build(). */
  enter(registers: VcpuRegisters): void {
    if (this.entry === undefined) throw new Error('domain builder: enter() before build()');
    const { mode, address, registers: values } = this.entry;
    for (let index = 0; index < 16; index++) registers.setGpr(index, 0n);
    for (const [name, value] of Object.entries(values)) registers.setGpr(Reg[name as keyof typeof values], BigInt(value));
    registers.rflags = 2;
    registers.setSegment(Seg.ldtr, { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 });
    registers.setSegment(Seg.tr, { selector: 0, base: 0n, limit: 0x67, accessRights: 0x8b });
    registers.idtrBase = 0n;
    registers.idtrLimit = 0;
    registers.gdtrBase = 0n;
    registers.gdtrLimit = 0;
    const flat = (selector: number, accessRights: number) => ({ selector, base: 0n, limit: 0xffffffff, accessRights });
    if (mode === 'long') {
      registers.gdtrBase = BigInt(GuestLayout.gdt);
      registers.gdtrLimit = bootGdt(64).length - 1;
      registers.cr3 = BigInt(GuestLayout.pageTables);
      registers.cr4 = 0x20; // PAE
      registers.efer = 0x500; // LME, LMA
      registers.cr0 = 0x80000011; // PG, ET, PE
      registers.setSegment(Seg.cs, flat(0x10, 0xa09b));
      for (const seg of [Seg.ds, Seg.es, Seg.ss, Seg.fs, Seg.gs]) registers.setSegment(seg, flat(0x18, 0xc093));
    } else {
      registers.cr4 = 0;
      registers.efer = 0;
      registers.cr0 = 0x11; // ET, PE
      const linux = mode === 'linux32';
      if (linux) {
        registers.gdtrBase = BigInt(GuestLayout.gdt);
        registers.gdtrLimit = bootGdt(32).length - 1;
      }
      registers.setSegment(Seg.cs, flat(linux ? 0x10 : 0, 0xc09b));
      for (const seg of [Seg.ds, Seg.es, Seg.ss, Seg.fs, Seg.gs]) registers.setSegment(seg, flat(linux ? 0x18 : 0, 0xc093));
    }
    registers.rip = gva(BigInt(address));
  }

  private populate(first: ReturnType<typeof gfn>, count: number): void {
    const placed = this.target.p2m.populate(first, count);
    if (placed !== count)
      throw new UserError(
        `memory = ${this.config.memoryMiB}: only ${placed} of ${count} frames from gfn 0x${first.toString(16)} could be had; give the guest less memory`,
      );
  }

  private setUpSpecialPages(): void {
    this.populate(ioreqServerPfn, NR_IOREQ_SERVER_PAGES + NR_SPECIAL_PAGES);
    const set = (index: number, value: number): void => this.target.setParam(index, value, 0);
    set(HvmParam.ioreqPfn, specialPfn(SpecialPage.ioreq));
    set(HvmParam.bufioreqPfn, specialPfn(SpecialPage.bufioreq));
    set(HvmParam.ioreqServerPfn, ioreqServerPfn);
    set(HvmParam.nrIoreqServerPages, NR_IOREQ_SERVER_PAGES);
    set(HvmParam.identPt, gfnToGpa(gfn(specialPfn(SpecialPage.identPt))));
    set(HvmParam.hpetEnabled, this.config.hpet ? 1 : 0);
    set(HvmParam.tripleFaultReason, ShutdownReason.crash); // not the default, a reboot: whoever watches wants to see the dump
    set(HvmParam.timerMode, 1); // no delay for missed ticks
    set(HvmParam.acpiIoportsLocation, 1); // PM1a at 0xb000
    // Page tables for a CPU whose EPT needs paging on: 1,024 pages of 4 MiB onto themselves.
    const table = new Uint32Array(1024).map((_, i) => (i << 22) | 0xe7);
    this.ram.write(gfnToGpa(gfn(specialPfn(SpecialPage.identPt))), new Uint8Array(table.buffer));
  }

  private writeAcpiTables(): void {
    const { rsdp, tables } = buildAcpiTables({
      vcpus: this.config.vcpus,
      base: GuestLayout.acpiTables,
      hpet: this.config.hpet,
    });
    this.ram.write(GuestLayout.acpiTables, tables);
    this.ram.write(GuestLayout.rsdp, rsdp);
  }

  /** Load the kernel; gives its entry and the first byte after what it needs at the start. */
  private loadKernel(): { entry: Entry; end: number } {
    const { kernel, type } = this.config;
    if (kernel.kind === 'bzimage') {
      if (type === 'pvh') throw new UserError("type = 'pvh': a bzImage has no PVH note; give its vmlinux");
      const { loadAddress, has64bitEntry } = kernel;
      const end = loadAddress + Math.max(kernel.initSize, kernel.kernel.length);
      this.mustFit('kernel', loadAddress, end);
      this.ram.write(gpa(loadAddress), kernel.kernel);
      return { entry: has64bitEntry ? longEntry(loadAddress + 0x200) : linux32Entry(loadAddress), end };
    }
    const elf = kernel.kind === 'elf' ? kernel.elf : kernel.image.elf;
    if (elf === undefined) throw new UserError("type = 'pvh': the kernel is a flat Multiboot image; use type = 'hvm'");
    let end = 0;
    for (const segment of elf.segments) {
      end = Math.max(end, segment.address + segment.memorySize);
      this.mustFit('kernel', segment.address, segment.address + segment.memorySize);
      this.ram.write(segment.address, segment.data);
      // Frames come zeroed, so what lies beyond the data needs no write.
    }
    if (type === 'pvh') {
      if (elf.pvhEntry === undefined)
        throw new UserError("type = 'pvh': the kernel has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY); use type = 'hvm'");
      return { entry: protectedEntry(elf.pvhEntry), end };
    }
    if (!elf.segments.some(({ address, memorySize }) => elf.entry >= address && elf.entry < address + memorySize)) {
      throw new UserError(
        `kernel: its entry, 0x${elf.entry.toString(16)}, is in none of its segments; expected a guest-physical address in one of them`,
      );
    }
    const linux32 = kernel.kind === 'elf' && kernel.setupHeader !== undefined;
    const enter = elf.bits === 64 ? longEntry : linux32 ? linux32Entry : protectedEntry;
    return { entry: enter(elf.entry), end };
  }

  /**
   * A Multiboot image: its segments, then, from the next page on, the ramdisk as a module and the information structure. What the
   * image does not ask to be loaded is zero.
   */
  private loadMultiboot({ segments, entry, name }: MultibootImage): Entry {
    const { commandLine, memoryMiB, ramdisk } = this.config;
    const top = Math.min(memoryMiB * 0x100000, GuestLayout.mmioHole);
    let end: number = GuestLayout.highRam;
    for (const { address, data, memorySize } of segments) {
      const last = address + memorySize;
      if (last > GuestLayout.ebda) this.mustFit('kernel', address, last);
      this.ram.write(address, data);
      this.ram.write(gpa(address + data.length), new Uint8Array(memorySize - data.length));
      end = Math.max(end, last);
    }
    if (!segments.some(({ address, memorySize }) => entry >= address && entry < address + memorySize))
      throw new UserError(
        `kernel: its entry, 0x${entry.toString(16)}, is outside everything that its Multiboot header loads; expected a guest-physical address inside it`,
      );
    const module = ramdisk === undefined ? undefined : { address: pageUp(end), size: ramdisk.length };
    if (module) end = module.address + module.size;
    const address = pageUp(end);
    const info = multibootInfo({
      address,
      commandLine: commandLine === '' ? name : `${name} ${commandLine}`,
      ...(module ? { module } : {}),
      e820: buildE820(memoryMiB),
      lowerKiB: Math.floor(GuestLayout.ebda / 1024),
      upperKiB: (top - GuestLayout.highRam) / 1024,
    });
    this.mustFit('kernel, ramdisk and boot information', GuestLayout.highRam, address + info.length);
    if (module) this.ram.write(module.address, ramdisk!);
    this.ram.write(address, info);
    return { mode: 'protected', address: entry, registers: { rax: MULTIBOOT_BOOTLOADER_MAGIC, rbx: address } };
  }

  private loadRamdisk(kernelEnd: number): { address: Gpa; size: number } | undefined {
    const { ramdisk } = this.config;
    if (ramdisk === undefined) return undefined;
    const top = Math.min(this.config.memoryMiB * 0x100000, GuestLayout.mmioHole, 0x80000000);
    const address = Math.floor((top - ramdisk.length) / PAGE_SIZE) * PAGE_SIZE;
    if (address < kernelEnd)
      throw new UserError(
        `memory = ${this.config.memoryMiB}: too little for the kernel (up to ${Math.ceil(kernelEnd / 0x100000)} MiB) and a ramdisk of ${Math.ceil(ramdisk.length / 0x100000)} MiB; give more memory`,
      );
    this.ram.write(gpa(address), ramdisk);
    return { address: gpa(address), size: ramdisk.length };
  }

  private writeBootInformation(ramdisk: { address: Gpa; size: number } | undefined): void {
    const { commandLine, kernel, memoryMiB } = this.config;
    const line = new TextEncoder().encode(`${commandLine}\0`);
    if (line.length > GuestLayout.commandLineSize)
      throw new UserError(
        `the kernel's command line is ${line.length - 1} bytes long; at most ${GuestLayout.commandLineSize - 1} fit`,
      );
    const e820 = buildE820(memoryMiB);
    // A 64-bit vmlinux boots alike whether it came in a bzImage or not; what has no 64-bit entry needs the header.
    const setupHeader =
      kernel.kind === 'bzimage' || (kernel.kind === 'elf' && kernel.elf.bits === 32) ? kernel.setupHeader : undefined;
    this.ram.write(GuestLayout.commandLine, line);
    this.ram.write(GuestLayout.gdt, bootGdt(this.entry?.mode === 'linux32' ? 32 : 64));
    this.ram.write(GuestLayout.pageTables, identityPageTables(GuestLayout.pageTables));
    this.ram.write(
      GuestLayout.bootParams,
      buildBootParams({
        commandLine: GuestLayout.commandLine,
        rsdp: GuestLayout.rsdp,
        e820,
        ...(ramdisk ? { ramdisk } : {}),
        ...(setupHeader === undefined ? {} : { setupHeader }),
      }),
    );

    const modules = ramdisk ? 1 : 0;
    const modlist = GuestLayout.startInfo + 0x40;
    const memmap = modlist + HvmModlistEntry.entrySize;
    const info = new Uint8Array(memmap - GuestLayout.startInfo + e820.length * HvmMemmapEntry.entrySize);
    const v = new DataView(info.buffer);
    const u64 = (at: number, value: number): void => v.setBigUint64(at, BigInt(value), true);
    v.setUint32(HvmStartInfo.magic, XEN_HVM_START_MAGIC_VALUE, true);
    v.setUint32(HvmStartInfo.version, 1, true);
    v.setUint32(HvmStartInfo.nrModules, modules, true);
    u64(HvmStartInfo.modlistPaddr, modules ? modlist : 0);
    u64(HvmStartInfo.cmdlinePaddr, GuestLayout.commandLine);
    u64(HvmStartInfo.rsdpPaddr, GuestLayout.rsdp);
    u64(HvmStartInfo.memmapPaddr, memmap);
    v.setUint32(HvmStartInfo.memmapEntries, e820.length, true);
    if (ramdisk) {
      u64(modlist - GuestLayout.startInfo + HvmModlistEntry.paddr, ramdisk.address);
      u64(modlist - GuestLayout.startInfo + HvmModlistEntry.size, ramdisk.size);
    }
    e820.forEach((entry, i) => {
      const at = memmap - GuestLayout.startInfo + i * HvmMemmapEntry.entrySize;
      u64(at + HvmMemmapEntry.addr, entry.address);
      u64(at + HvmMemmapEntry.size, entry.size);
      v.setUint32(at + HvmMemmapEntry.type, entry.type, true);
    });
    this.ram.write(GuestLayout.startInfo, info);
  }

  /** What is loaded may lie in RAM between 1 MiB and the MMIO hole, and nowhere else. */
  private mustFit(what: string, start: number, end: number): void {
    const top = Math.min(this.config.memoryMiB * 0x100000, GuestLayout.mmioHole);
    if (!(start >= GuestLayout.highRam && end <= top))
      throw new UserError(
        `${what}: wants guest-physical 0x${start.toString(16)} to 0x${end.toString(16)}, but RAM for it is from 0x100000 to 0x${top.toString(16)}; give the guest more memory or link the kernel elsewhere`,
      );
  }
}
