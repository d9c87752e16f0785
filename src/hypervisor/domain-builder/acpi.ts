/**
 * The ACPI tables hvmloader builds (tools/libs/../libacpi/build.c), as Linux needs them: RSDP, XSDT, FADT, FACS, DSDT, MADT,
 * HPET, WAET. Layouts: ACPI 6.4, chapter 5.2; HPET: IA-PC HPET 1.0a, 3.2.4.
 */
import { type Gpa, gpa } from '../../base/address.ts';
import { hvmPciIntxGsi } from '../chips/irq.ts';
import { vlapicId } from '../chips/vlapic.ts';
import {
  arg0,
  device,
  dwordMemory,
  eisaId,
  iff,
  integer,
  io,
  irqNoFlags,
  method,
  name,
  nameString,
  pkg,
  resourceTemplate,
  ret,
  scope,
  store,
  wordBusNumber,
  wordIo,
} from './aml.ts';
import { GuestLayout } from './layout.ts';
import { ACPI_PM1A_EVT, PCI_LINK_IRQS } from './pci.ts';

export interface AcpiOptions {
  vcpus: number;
  /** Where the tables will lie, RSDP excepted. */
  base: Gpa;
  hpet: boolean;
}

export interface AcpiTables {
  /** 36 bytes, for GuestLayout.rsdp. */
  rsdp: Uint8Array;
  /** The other tables, for `base` on. */
  tables: Uint8Array;
  /** Signature and place of each table. */
  index: { signature: string; address: Gpa; length: number }[];
}

const OEM_ID = 'Xen';
const OEM_TABLE_ID = 'HVM';
const CREATOR_ID = 'XENO';
const HEADER = 36;
const SCI_IRQ = 9;

/** Table under construction: header, then fields put one after the other. */
class Table {
  private readonly bytes: number[] = [];

  u8(...values: number[]): this {
    this.bytes.push(...values.map((v) => v & 0xff));
    return this;
  }

  u16(...values: number[]): this {
    for (const v of values) this.u8(v, v >> 8);
    return this;
  }

  u32(...values: number[]): this {
    for (const v of values) this.u8(v, v >>> 8, v >>> 16, v >>> 24);
    return this;
  }

  u64(...values: number[]): this {
    for (const v of values) this.u32(v, Math.floor(v / 0x100000000));
    return this;
  }

  text(value: string, length: number): this {
    return this.u8(...[...value.padEnd(length, '\0')].map((c) => c.charCodeAt(0)));
  }

  /** Generic address structure: ports, `bits` wide. */
  gas(port: number, bits: number): this {
    return this.u8(port === 0 ? 0 : 1, bits, 0, 0).u64(port);
  }

  get body(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

function withHeader(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = new Uint8Array(HEADER + body.length);
  const header = new Table()
    .text(signature, 4)
    .u32(table.length)
    .u8(revision, 0)
    .text(OEM_ID, 6)
    .text(OEM_TABLE_ID, 8)
    .u32(0)
    .text(CREATOR_ID, 4)
    .u32(0);
  table.set(header.body);
  table.set(body, HEADER);
  table[9] = checksum(table);
  return table;
}

/** The byte that makes the sum of all zero. */
const checksum = (bytes: Uint8Array): number => -bytes.reduce((sum, b) => sum + b, 0) & 0xff;

/** Build all tables for a guest. The same options give the same bytes. */
export function buildAcpiTables(options: AcpiOptions): AcpiTables {
  const placed: { signature: string; address: Gpa; bytes: Uint8Array }[] = [];
  let next: number = options.base;
  const place = (signature: string, bytes: Uint8Array, align = 16): Gpa => {
    next = Math.ceil(next / align) * align;
    const address = gpa(next);
    placed.push({ signature, address, bytes });
    next += bytes.length;
    return address;
  };
  const facs = place('FACS', buildFacs(), 64);
  const dsdt = place('DSDT', withHeader('DSDT', 2, Uint8Array.from(dsdtTerms())));
  const tables = [
    place('FACP', withHeader('FACP', 4, buildFadt(facs, dsdt))),
    place('APIC', withHeader('APIC', 2, buildMadt(options.vcpus))),
  ];
  if (options.hpet) tables.push(place('HPET', withHeader('HPET', 1, buildHpet())));
  // The PM timer needs to be read only once for a good value.
  tables.push(place('WAET', withHeader('WAET', 1, new Table().u32(1 << 1).body)));
  const xsdt = place('XSDT', withHeader('XSDT', 1, new Table().u64(...tables).body));

  const bytes = new Uint8Array(next - options.base);
  for (const table of placed) bytes.set(table.bytes, table.address - options.base);
  return {
    rsdp: buildRsdp(xsdt),
    tables: bytes,
    index: placed.map(({ signature, address, bytes: b }) => ({ signature, address, length: b.length })),
  };
}

function buildRsdp(xsdt: Gpa): Uint8Array {
  const rsdp = new Table().text('RSD PTR ', 8).u8(0).text(OEM_ID, 6).u8(2).u32(0).u32(36).u64(xsdt).u8(0, 0, 0, 0).body;
  rsdp[8] = checksum(rsdp.subarray(0, 20));
  rsdp[32] = checksum(rsdp);
  return rsdp;
}

const buildFacs = (): Uint8Array => new Table().text('FACS', 4).u32(64, 0, 0, 0, 0).u64(0).u8(1).text('', 31).body;

/** Fixed hardware of the machine: PM1a event and timer in the hypervisor, PM1a control in the device model, SCI 9, no SMI. */
function buildFadt(facs: Gpa, dsdt: Gpa): Uint8Array {
  const event = ACPI_PM1A_EVT;
  const flags =
    (1 << 0) | // WBINVD works
    (1 << 2) | // C1 on every CPU
    (1 << 4) |
    (1 << 5) | // no fixed power and sleep buttons
    (1 << 6) | // RTC wake status is not in fixed registers
    (1 << 8) | // PM timer of 32 bits
    (1 << 10); // reset register
  return new Table()
    .u32(facs, dsdt)
    .u8(0, 0) // reserved, no preferred profile
    .u16(SCI_IRQ)
    .u32(0) // no SMI command port: ACPI is always on
    .u8(0, 0, 0, 0)
    .u32(event, 0, event + 4, 0, 0, event + 8, 0, 0) // PM1a/b event, PM1a/b control, PM2, PM timer, GPE0, GPE1
    .u8(4, 2, 0, 4, 0, 0, 0, 0)
    .u16(0xfff, 0xfff) // no C2, no C3
    .u16(0, 0)
    .u8(0, 0, 0, 0, 0x32) // duty cycle, alarms, century register
    .u16((1 << 0) | (1 << 2)) // legacy devices on ISA, no VGA
    .u8(0)
    .u32(flags)
    .gas(0xcf9, 8)
    .u8(0x06, 0, 0, 0)
    .u64(facs, dsdt)
    .gas(event, 32)
    .gas(0, 0)
    .gas(event + 4, 16)
    .gas(0, 0)
    .gas(0, 0)
    .gas(event + 8, 32)
    .gas(0, 0)
    .gas(0, 0).body;
}

function buildMadt(vcpus: number): Uint8Array {
  const table = new Table().u32(0xfee00000, 1); // with two 8259s
  for (let vcpu = 0; vcpu < vcpus; vcpu++) table.u8(0, 8, vcpu, vlapicId(vcpu)).u32(1);
  table.u8(1, 12, IOAPIC_ID, 0).u32(0xfec00000, 0);
  const override = (irq: number, gsi: number, flags: number): void => void table.u8(2, 10, 0, irq).u32(gsi).u16(flags);
  override(0, 2, 0);
  // Active low, level: the SCI, and what PCI links may drive.
  for (const irq of new Set([...PCI_LINK_IRQS, SCI_IRQ].sort((a, b) => a - b))) override(irq, irq, 0xf);
  return table.body;
}

/** APIC identifier the firmware gives the IO-APIC. */
export const IOAPIC_ID = 1;

const buildHpet = (): Uint8Array => new Table().u32(0x8086a201).u8(0, 64, 0, 0).u64(0xfed00000).u8(0).u16(0).u8(0).body;

/** _PRT entries: every pin of every slot, hard-wired to a global interrupt. */
function routing(gsi: (slot: number, pin: number) => number): number[] {
  // A package holds at most 255 elements: 31 slots of four pins.
  const entries = Array.from({ length: 31 * 4 }, (_, i) => ({ slot: 1 + (i >> 2), pin: i & 3 }));
  return [
    ...pkg(
      ...entries.map(({ slot, pin }) => pkg(integer(slot * 0x10000 + 0xffff), integer(pin), integer(0), integer(gsi(slot, pin)))),
    ),
  ];
}

/** One PCI root with its windows, routes for both interrupt models, the ISA devices a kernel asks for, and S5. */
function dsdtTerms(): number[] {
  const { mmioHole, mmioHoleEnd, vgaHole, bios } = GuestLayout;
  return [
    ...name('\\_S5', pkg(integer(0), integer(0), integer(0), integer(0))),
    ...name('\\PICD', integer(0)),
    ...method('\\_PIC', 1, store(arg0, nameString('\\PICD'))),
    ...scope(
      '\\_SB',
      device(
        'PCI0',
        name('_HID', eisaId('PNP0A03')),
        name('_UID', integer(0)),
        name('_ADR', integer(0)),
        name('_BBN', integer(0)),
        name(
          '_CRS',
          resourceTemplate(
            wordBusNumber(0, 0xff),
            io(0xcf8, 8),
            wordIo(0, 0xcf7),
            wordIo(0xd00, 0xffff),
            dwordMemory(vgaHole, bios - 1, true),
            dwordMemory(mmioHole, mmioHoleEnd - 1, false),
          ),
        ),
        name(
          'PRTP',
          routing((slot, pin) => PCI_LINK_IRQS[(slot + pin) & 3]!),
        ),
        name(
          'PRTA',
          routing((slot, pin) => hvmPciIntxGsi(slot, pin)),
        ),
        method('_PRT', 0, iff(nameString('\\PICD'), ret(nameString('PRTA'))), ret(nameString('PRTP'))),
        device(
          'ISA',
          name('_ADR', integer(0x10000)),
          device('RTC', name('_HID', eisaId('PNP0B00')), name('_CRS', resourceTemplate(io(0x70, 2), irqNoFlags(8)))),
          device(
            'COM1',
            name('_HID', eisaId('PNP0501')),
            name('_UID', integer(1)),
            name('_CRS', resourceTemplate(io(0x3f8, 8), irqNoFlags(4))),
          ),
        ),
      ),
    ),
  ];
}
