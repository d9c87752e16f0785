/** Words of stories and of the tables of `trace io`, explained. docs/glossary.md is made of the same list. */

/** One word with its meaning. */
interface Term {
  /** As stories print it. */
  readonly name: string;
  /** Other spellings that are looked up. */
  readonly also?: readonly string[];
  /** Plain sentences, the first of which says what it is. */
  readonly text: string;
}

/** A chapter of the glossary. */
interface Chapter {
  readonly title: string;
  readonly terms: readonly Term[];
}

const term = (name: string, text: string, ...also: string[]): Term => ({ name, text, ...(also.length > 0 ? { also } : {}) });

export const glossary: readonly Chapter[] = [
  {
    title: 'Who takes part',
    terms: [
      term(
        'guest',
        'A virtual machine that knows nothing of the others. Xen calls it a domain, or domU.',
        'domU',
        'VM',
        'virtual machine',
      ),
      term(
        'domain',
        'A virtual machine in the words of Xen, known by a number. Domain 0 is the privileged one. `d1v0` is vCPU 0 of domain 1.',
      ),
      term(
        'dom0',
        'Domain 0: the privileged virtual machine, with the drivers of the real hardware. The device models of the guests run there as processes.',
      ),
      term(
        'stub domain',
        'A small virtual machine that holds the device model of one guest, in place of a process in dom0.',
        'stubdom',
        'stubdomain',
      ),
      term('HVM', 'A guest that runs unmodified, on virtualised hardware with emulated devices.'),
      term(
        'PV',
        'A guest that knows that it runs on Xen, and makes hypercalls where hardware would be touched. dom0 is often one.',
      ),
      term('Xen', 'The hypervisor: it runs below all domains and divides processors and memory between them.', 'hypervisor'),
      term(
        'device model',
        'The program that plays the hardware of one guest: registers, DMA, interrupts. QEMU is the usual one; its old name is qemu-dm.',
        'qemu-dm',
        'qemu',
      ),
      term(
        'driver',
        'The part of the guest that works with one kind of device, for example 8139cp. It believes that its NIC is real.',
      ),
      term('vCPU', 'A virtual processor of a domain. Xen runs it on one real processor or another.'),
      term('pCPU', 'A real processor of the host. Each has its own buffer of trace records.'),
      term('NIC', 'A network card. Here it is emulated: the device model plays it.'),
      term(
        'wire',
        'Where a frame is outside the guest and its NIC: on the virtual interface and the bridge that the capture watches.',
      ),
    ],
  },
  {
    title: 'Addresses',
    terms: [
      term(
        'guest-virtual',
        "An address as the guest's program uses it. The guest's own page tables translate it. No trace record holds one of data.",
        'GVA',
        'linear address',
      ),
      term(
        'guest-physical',
        'An address as the guest believes its memory to be numbered. Drivers give such addresses to their devices. Xen translates it through the p2m.',
        'GPA',
        'GFN',
        'guest frame',
      ),
      term('machine frame', "The number of a real page of the host's memory. A guest never sees it.", 'MFN', 'machine address'),
      term(
        'p2m',
        "Xen's table from guest frames to machine frames, one for each guest. It also says what kind of page each is, for example mmio_dm.",
      ),
      term(
        'mmio_dm',
        'A type of page in the p2m (number 4): the page has no memory, and a device model answers for it.',
        'p2m_mmio_dm',
      ),
      term(
        'mapping',
        'Where the device model sees a page of the guest in its own memory. Its addresses mean nothing outside its process.',
        "device model's mapping",
      ),
      term(
        'map cache',
        'The table in which the device model keeps the guest pages that it has mapped. A hit costs a memory copy; a miss costs a hypercall, and then Xen translates through the p2m.',
        'xen_map_cache',
      ),
      term(
        'bucket',
        'The unit of the map cache: a run of guest pages that are mapped together. QEMU maps 1 MiB at once on 64-bit hosts.',
      ),
      term(
        'remap',
        'The device model maps a bucket anew by a hypercall. Its log prints xen_remap_bucket then.',
        'xen_remap_bucket',
      ),
      term('MMIO', 'Registers of a device that are reached by memory accesses at guest-physical addresses.', 'COPY'),
      term(
        'port',
        'Of the processor: an address of I/O instructions, 0 to 0xffff. Of an event channel: see "event channel".',
        'PIO',
        'port I/O',
      ),
      term('BAR', 'Base address register: where the guest placed the registers of a PCI device.'),
      term(
        'PCI',
        'The bus on which a guest finds its devices. The configuration registers of a device name its maker and hold its BARs.',
      ),
      term(
        'VGA',
        "A PC's graphics card. Its memory lies at guest-physical 0xa0000; Xen sends writes of it through the buffered ioreq page.",
      ),
      term(
        'DMA',
        'A device reads or writes guest memory by itself. An emulated one copies memory through the map cache of the device model.',
      ),
    ],
  },
  {
    title: 'The request',
    terms: [
      term(
        'ioreq',
        'I/O request: the note by which Xen asks the device model to carry out one access of the guest. It holds address, size, direction and data.',
        'request',
      ),
      term(
        'synchronous ioreq page',
        'A page that Xen and the device model share, with one slot for each vCPU. The vCPU waits until its slot holds the answer.',
        'ioreq page',
        'shared memory page',
        'shared_iopage',
      ),
      term(
        'buffered ioreq page',
        'A page with a ring of short requests for which no vCPU waits. A slot has 20 address bits, so that only addresses up to 0xfffff fit. Xen puts writes to VGA memory there.',
        'buffered',
        'bufioreq',
      ),
      term('slot', 'The place of one request in an ioreq page. In the synchronous page vCPU n has slot n.'),
      term('STATE_IOREQ_NONE', 'State 0 of a slot: it holds no request.'),
      term('STATE_IOREQ_READY', 'State 1 of a slot: Xen has filled it, and the device model may take it.'),
      term('STATE_IOREQ_INPROCESS', 'State 2 of a slot: the device model has taken the request and works on it.'),
      term('STATE_IORESP_READY', 'State 3 of a slot: the answer is there, and Xen may go on with the vCPU.'),
      term(
        'ioreq server',
        'What Xen keeps for one device model: its ioreq pages, its event channel ports and the addresses that it claimed.',
      ),
      term(
        'event channel',
        'How Xen and domains wake each other: a bit is set, and the receiver gets an interrupt. A port is its number within a domain.',
        'notification',
        'event channel port',
      ),
      term(
        'rep',
        'One string instruction (rep movs, rep stos …) can make many accesses in one request. The count says how many.',
        'count',
      ),
      term(
        '(pointer)',
        'The request holds no data but the guest-physical address of it, because a string instruction copies several items.',
        'pointer',
      ),
      term('doorbell', 'The register write that tells a NIC to look for something to send.'),
      term('hypercall', 'A call from a domain into Xen, as a system call is one from a program into its kernel.'),
      term('dm_op', 'The hypercall of device models: set an interrupt level, claim addresses, and so on.'),
      term(
        'mmu_update',
        'A hypercall by which a PV domain changes page tables. mmu_update, update_va_mapping, memory_op, grant_table_op and multicall are those that can map memory.',
        'update_va_mapping',
        'update_va_mapping_otherdomain',
        'memory_op',
        'grant_table_op',
        'multicall',
      ),
      term('iret', 'A hypercall by which a 64-bit PV domain returns from its kernel. It is not counted: it changes nothing.'),
    ],
  },
  {
    title: 'In and out of the guest',
    terms: [
      term(
        'exit',
        'The processor stops running the guest and enters Xen, because of an access or an event that Xen must handle.',
        'VM exit',
        'VMEXIT',
      ),
      term('entry', 'Xen lets the processor run the guest again.', 'VM entry', 'VMENTRY'),
      term('rip', 'The address of the instruction at which the guest was left.'),
      term(
        'EPT_VIOLATION',
        "Exit reason of Intel's processors: the p2m does not allow this access to this page. Accesses to mmio_dm pages give it.",
        'EPT',
        'EPT violation',
      ),
      term(
        'VMEXIT_NPF',
        "Exit reason of AMD's processors: the p2m does not allow this access to this page (a nested page fault). Accesses to mmio_dm pages give it.",
        'NPF',
        'nested page fault',
      ),
      term('IO_INSTRUCTION', "Exit reason of Intel's processors: an I/O instruction (in, out, ins, outs).", 'VMEXIT_IOIO'),
      term('INVALID_MFN', 'All bits set: the p2m has no machine frame for the page.'),
      term(
        'runstate',
        'What a vCPU does, as Xen records it: running on a pCPU, runnable (it would run, but has no pCPU), blocked (it sleeps until an event), offline (it may not run).',
        'running',
        'runnable',
        'blocked',
      ),
      term('offline', 'A runstate: the vCPU may not run. A vCPU that waits for the answer in its slot is offline, not blocked.'),
      term('injection', 'Xen makes the guest take an interrupt at its next entry.', 'injects', 'INJ_VIRQ'),
      term('vector', 'The number under which a processor takes an interrupt.'),
      term(
        'callback vector',
        'Vector 0xf3: the one interrupt by which Linux takes all event channels. An emulated device can come through it too.',
      ),
      term('interrupt cause', 'The register in which a NIC says why it interrupts, for example IntrStatus or ICR.'),
    ],
  },
  {
    title: 'The network card',
    terms: [
      term(
        'frame',
        'Of the network: one packet with its Ethernet header. Of memory: one page. Stories say "machine frame" for the latter.',
        'packet',
      ),
      term(
        'ring',
        'A table of descriptors in guest memory that driver and NIC walk round and round.',
        'transmit ring',
        'receive ring',
      ),
      term('descriptor', 'An entry of a ring: the address of a buffer, its length, and whose turn it is.'),
      term('OWN', 'A bit of a descriptor: set while it belongs to the NIC.'),
      term('C mode', "The RTL8139's plain mode: four transmit buffers that registers name, one receive buffer.", 'C'),
      term('C+ mode', "The RTL8139's later mode: descriptor rings for both directions. Linux' 8139cp uses it.", 'C+'),
      term('station address', "A NIC's own address on the network, for example 00:16:3e:00:00:01.", 'MAC'),
    ],
  },
  {
    title: 'Files and times',
    terms: [
      term('trace', 'A file that xentrace wrote: records of what Xen did, from every pCPU.'),
      term('log', "The device model's log: QEMU's trace events, or its debug lines.", 'device-model log'),
      term('capture', 'Frames with times, as tcpdump writes them: pcap or pcapng.', 'pcap', 'pcapng'),
      term('TSC', 'The counter of the processor by which trace records are timed. Its rate turns ticks into seconds.'),
      term(
        'drift',
        'How much faster one clock runs than another, in parts per million (ppm). Trace and log each have their own clock; the events that both recorded align the two.',
        'ppm',
      ),
      term('±', 'The true time is within this much of the printed one, on either side.', 'error'),
      term('measured', 'Times of a real clock.'),
      term(
        'modelled',
        "Times of a virtual clock, which charges each step a declared cost: Xenolith's own, with --clock virtual.",
      ),
      term(
        'pair',
        'An access of the trace and a request of the log that are the same: equal address, direction and data, in the same order.',
        'paired',
        'unpaired',
      ),
      term(
        'lost records',
        'Records that did not fit into the trace buffer. The trace says how many; their contents are unknown.',
        'lost',
      ),
      term('SET_P2M', 'A trace record of a p2m entry that was set. Without it a machine frame is unknown.', 'P2M_SET'),
      term('region', 'A range of addresses with one handler in the device model, by name: rtl8139, e1000-mmio.', 'handler'),
    ],
  },
  {
    title: 'How sure a sentence is',
    terms: [
      term('proven', 'A record, a line or a frame says it. Such sentences carry no mark.'),
      term('strong', 'It follows by a rule of Xen, of the chip or of a file format. docs/trace.md lists the rules.'),
      term('inferred', 'It is the likeliest reading of order and time. Another one is possible.'),
      term('unknown', 'The files do not show it.'),
      term(
        'evidence',
        'What a sentence rests on, in brackets: `trace+0x…` is the offset of a record, `log:…` a line, `pcap#…` a frame, `console:…` a line of the console.',
        'references',
      ),
    ],
  },
  {
    title: 'Columns of trace io',
    terms: [
      term(
        'route',
        'The way of an access: sync (synchronous ioreq page), buffered, in Xen (no device model took part), or unknown.',
        'sync',
        'in Xen',
      ),
      term('emulate', 'From the exit to the notification of the device model, or to the wait where no notification is recorded.'),
      term('schedule', "From the notification until the device model's vCPU runs."),
      term('work', "From there until the guest's vCPU is made runnable again: the device model's time."),
      term('wake', "From there until the guest's vCPU runs."),
      term('enter', 'From there to the VM entry.'),
      term('share', "Of the time of all accesses shown, this row's part."),
      term('p99', 'The time that 99 of 100 accesses do not exceed.'),
    ],
  },
];

const key = (text: string): string => text.trim().toLowerCase().replaceAll(/\s+/g, ' ');

/** The term of a word, under any of its spellings. */
export function findTerm(word: string): Term | undefined {
  const wanted = key(word);
  const all = glossary.flatMap((c) => c.terms);
  return all.find((t) => key(t.name) === wanted) ?? all.find((t) => t.also?.some((a) => key(a) === wanted) === true);
}

/** docs/glossary.md. */
export function glossaryPage(): string {
  const lines = [
    '# Glossary',
    '',
    'The words of stories and of the tables of `trace io`. `xenolith explain TERM` prints the same, and explains the registers of every chip too.',
    'This page is made by `node scripts/docs.mjs` from `src/analyze/tell/glossary.ts`.',
  ];
  for (const { title, terms } of glossary) {
    lines.push('', `## ${title}`, '');
    for (const t of terms)
      lines.push(`- **${t.name}**${t.also === undefined ? '' : ` (${t.also.map((a) => `\`${a}\``).join(', ')})`}: ${t.text}`);
  }
  return `${lines.join('\n')}\n`;
}
