/** A tour of five minutes on the tiny guest, from "a driver writes a register" to "who translated the address". */
import { computed, effect, signal } from '@preact/signals';
import { guest, start } from './machine.ts';
import { hop, originOf, progress, select, source, story, summary, tell } from './state.ts';
import { canTravel, whoWrote } from './travel.ts';

interface Stop {
  readonly title: string;
  readonly text: readonly string[];
  /** The pane that it is about. */
  readonly pane: string;
  /** Brings the page to where the text is true. */
  show?(): void | Promise<void>;
}

/** Selects the first step of the story that a pattern fits. */
function step(pattern: RegExp): void {
  const i = story.value?.hops.findIndex(({ where, text }) => pattern.test(`${where} ${text}`)) ?? -1;
  const found = story.value?.hops[i];
  if (found === undefined) return;
  hop.value = i;
  void select(found.refs[0], found.atNs === undefined || originOf.value === undefined ? undefined : originOf.value + found.atNs);
}

const firstRequest = (): void => {
  const found = summary.value?.frames.find(({ what }) => what.startsWith('ICMP echo request'));
  if (found !== undefined) void tell(found.number);
};

const stops: readonly Stop[] = [
  {
    title: 'The question',
    pane: '.story',
    text: [
      'A reader of xen-devel booted a guest with an emulated RTL8139, pinged the host, and looked at xentrace and at the log of qemu-dm. Two things puzzled him.',
      'First: does the request go through the "shared memory page" or through the "buffered io page"? Second: the request holds 0xd4e6c400, a guest-physical address. Should the device model not need a machine address, and where is the hypercall that translates?',
      'This page has such a guest, and what happens to its ping is all recorded. Let us look.',
    ],
    show: firstRequest,
  },
  {
    title: 'A guest that pings',
    pane: '.live',
    text: [
      'This machine runs in your browser: a vCPU, a hypervisor with the parts of Xen that matter here, and a device model with an RTL8139. The guest is a driver in the small. It printed the lines that you see, and its ping was answered.',
      'Its frames are listed at the right. The marked one is the first echo request.',
    ],
  },
  {
    title: 'A driver writes a register',
    pane: '.timeline',
    text: [
      'The driver has put a descriptor and a frame into memory. To say so, it writes 0x40 to the register TxPoll. That is the doorbell.',
      'In the timeline this is where the arrow begins: the guest runs, then it leaves. Each arrow leads to whoever acts next. Zoom with the wheel; P brings the whole way back.',
    ],
    show: () => step(/leaves the guest/),
  },
  {
    title: 'Nobody is at home: mmio_dm',
    pane: '.addresses',
    text: [
      "The register's address is in the guest's page tables, as any address is. The second translation, the p2m, has no machine frame for it. Its type is mmio_dm: an access goes to a device model.",
      'So the processor leaves the guest with an EPT violation, and the hypervisor takes the access apart. Look at the first row: from guest-physical to machine frame there is nothing.',
    ],
    show: () => step(/mmio_dm/),
  },
  {
    title: 'First answer: the synchronous page',
    pane: '.story',
    text: [
      'The hypervisor fills a slot of the ioreq page: one slot for each vCPU, with address, data, size and direction. It marks the slot READY and notifies an event channel. The guest stops until the answer is there.',
      'That is the "shared memory page". The buffered page is for writes whose effect may come later, such as those to VGA memory; a doorbell is not one of them. The story gives the evidence under "Through which page did the request go?"',
    ],
    show: () => step(/fills slot/),
  },
  {
    title: 'The device model wakes',
    pane: '.bytes',
    text: [
      "dom0's vCPU runs, and the device model takes the request out of the slot. This line of its log has the address and the data just as the guest wrote them: nobody has translated anything so far.",
      'Click any reference, such as log:2791. Every pane goes to that place.',
    ],
    show: () => step(/takes the request/),
  },
  {
    title: 'The chip reads guest memory',
    pane: '.addresses',
    text: [
      'Now the RTL8139 does what a chip does: it reads the descriptor at the guest-physical address that the driver gave it. A real chip would put this address on the bus, and an IOMMU would translate it.',
      'The device model is a process of dom0. It asks its map cache for the address. On a miss, the cache has Xen map that frame of the guest into its own memory; that hypercall translates, by the p2m. On a hit there is no hypercall at all, and so a trace shows none.',
    ],
    show: () => step(/reads descriptor/),
  },
  {
    title: 'Second answer: who translates',
    pane: '.addresses',
    text: [
      "Follow one row from left to right. The guest's page tables lead to a guest-physical address. The p2m leads on to the machine frame. The map cache leads from the same guest-physical address to a pointer in the device model.",
      'So the address in the request is guest-physical, and it has to be: the device model cannot touch machine memory by number. Xen translates when it makes the mapping, and the mapping is used again.',
    ],
    show: () => step(/fetches the frame/),
  },
  {
    title: 'Who wrote this?',
    pane: '.registers',
    text: [
      "The machine can go back in time. This asks who wrote the descriptor's first word last before this moment.",
      'The registers, too, are those of the selected moment. Use the arrows beside "exit" to go to and fro.',
    ],
    show: async () => {
      step(/reads descriptor/);
      const gpa = story.value?.addresses.find(({ what }) => what.startsWith('descriptor'))?.gpa.value;
      if (gpa !== undefined && canTravel.value) await whoWrote(`the descriptor at ${gpa}`, Number(gpa), 4);
    },
  },
  {
    title: 'The frame leaves, the guest goes on',
    pane: '.bytes',
    text: [
      'The frame goes to the wire: here are its bytes. Point at a field and see where it lies.',
      'Then the chip raises its interrupt line, the device model answers, and the guest runs again. The bar above the story shows where the time went.',
    ],
    show: () => step(/^wire/),
  },
  {
    title: 'Now your own',
    pane: '.drop',
    text: [
      'Drop a trace of xentrace, the log of a device model and a capture, and read the same story of your own host. Nothing leaves this page.',
      'The address bar holds what you selected. The notebook keeps steps as Markdown for a mail.',
    ],
  },
];

const at = signal<number | undefined>(undefined);
/** The tour waits for its guest. */
const isReady = computed(() => source.value === 'live' && story.value !== undefined && progress.value === undefined);

async function go(to: number | undefined): Promise<void> {
  if (to === 0 && (source.value !== 'live' || guest.value !== 'ping')) {
    guest.value = 'ping';
    await start();
  }
  at.value = to;
}

effect(() => {
  const stop = at.value === undefined ? undefined : stops[at.value];
  for (const pane of document.querySelectorAll('.spot')) pane.classList.remove('spot');
  if (stop === undefined || !isReady.value) return;
  const pane = document.querySelector(stop.pane);
  pane?.classList.add('spot');
  pane?.scrollIntoView({ block: 'center', behavior: 'smooth' });
});

let shown: number | undefined;
effect(() => {
  const now = at.value;
  if (!isReady.value || now === shown) return;
  shown = now;
  if (now !== undefined) queueMicrotask(() => void stops[now]!.show?.());
});

export function TourButton() {
  return (
    <button type="button" class="main" onClick={() => void go(at.value === undefined ? 0 : undefined)}>
      {at.value === undefined ? 'Tour' : 'End the tour'}
    </button>
  );
}

export function Tour() {
  const { value } = at;
  const stop = value === undefined ? undefined : stops[value];
  if (value === undefined || stop === undefined) return null;
  return (
    <aside class="tour" aria-label="Tour" aria-live="polite">
      <h2>
        {value + 1} of {stops.length}: {stop.title}
      </h2>
      {isReady.value ? stop.text.map((text) => <p key={text}>{text}</p>) : <p>The guest starts.</p>}
      <div class="controls">
        <button type="button" disabled={value === 0} onClick={() => void go(value - 1)}>
          Back
        </button>
        <button
          type="button"
          class="main"
          disabled={!isReady.value}
          onClick={() => void go(value + 1 < stops.length ? value + 1 : undefined)}
        >
          {value + 1 < stops.length ? 'Next' : 'End'}
        </button>
      </div>
    </aside>
  );
}
