/**
 * What the manuals leave to the processor, as far as user programs see it: choices. The vCPU makes those of one Intel
 * model (docs/vcpu.md says which). A processor is asked once, with the snippets below, which choices it makes otherwise;
 * what follows from those is then compared by the rule, and all else exactly.
 */
import { type Case, DATA, DATA_SIZE, WRITABLE, snippet } from './lockstep/case.ts';
import { memoryImage } from './lockstep/values.ts';

const rax = 0;
const rcx = 1;
const rbx = 3;
const rsi = 6;
const rdi = 7;
const NOWHERE = BigInt(DATA + DATA_SIZE);
const READ_ONLY = BigInt(DATA + WRITABLE);
/** Where the snippets' operands stand. */
const HERE = BigInt(DATA + 0x200);

/** Operands for the approximations: a spread of numbers in each binade's range, four to a register. */
const operands = Array.from({ length: 16 }, (_, i) =>
  Array.from({ length: 4 }, (_, k) => 0x3f800000 + (i * 4 + k) * 0x41357 + k),
);

/** The last bytes of memory, for a scan that finds nothing in them and goes on into the unmapped page. */
const lastByte = memoryImage(5)[DATA_SIZE - 1] as number;

export interface ChoiceProbe {
  /** What is left open, in a few words. */
  readonly what: string;
  /** Where the manuals leave it open. */
  readonly source: string;
  /** A processor whose answers to all of these are the vCPU's chooses as the vCPU does. 32-bit ones are asked where there is such a mode. */
  readonly snippets: readonly Case[];
}

export const CHOICES = {
  pointers: {
    what: 'FOP, FIP, FDP and their selectors while no x87 exception is pending',
    source: 'SDM vol. 1 8.1.8 and CPUID.7.EBX[6] and [13]; APM vol. 2 11.4.4 and CPUID.80000008h.EBX[2]',
    snippets: [
      snippet(64, 'd9e8'),
      snippet(64, 'd903', { [rbx]: HERE }),
      snippet(64, 'd9e8d933', { [rbx]: HERE }),
      snippet(64, 'd9e8dd33', { [rbx]: HERE }),
      snippet(64, 'd903480fae03', { [rbx]: HERE }),
    ],
  },
  reciprocals: {
    what: 'the bits of RCPPS and RSQRTPS within their error bound',
    source: 'SDM vol. 2, RCPPS and RSQRTPS; APM vol. 4, the same',
    snippets: operands.flatMap((lanes) => [
      snippet(64, '0f53c1', {}, { xmm: { 1: lanes } }),
      snippet(64, '0f52c1', {}, { xmm: { 1: lanes } }),
    ]),
  },
  'mxcsr-mask': {
    what: 'which bits of MXCSR there are: FXSAVE stores them as MXCSR_MASK',
    source: 'SDM vol. 1 11.6.6; APM vol. 1 4.2.2 (bit 17, MM)',
    snippets: [snippet(64, '480fae03', { [rbx]: HERE })],
  },
  'push-segment': {
    what: 'the upper half of the doubleword that PUSH of a segment register with a 32-bit operand takes: zero, or what memory held',
    source: 'SDM vol. 2, PUSH',
    snippets: [snippet(32, '1e'), snippet(32, '0fa0')],
  },
  'operand-order': {
    what: 'which of the two memory operands of CMPS or MOVS faults first',
    source: 'no manual orders them',
    snippets: [
      snippet(64, 'a6', { [rsi]: 0x99n, [rdi]: 0x55n }),
      snippet(64, 'a4', { [rsi]: 0x99n, [rdi]: 0x55n }),
      snippet(32, 'a7', { [rsi]: 0x99n, [rdi]: 0x55n }),
    ],
  },
  'repeat-flags': {
    what: 'the arithmetic flags when REP CMPS or SCAS faults after some iterations',
    source: 'SDM vol. 2, REP: as before the instruction; APM vol. 3 names none',
    snippets: [snippet(64, 'f2ae', { [rax]: BigInt(lastByte ^ 1), [rcx]: 9n, [rdi]: NOWHERE - 1n }, { rflags: 0xad7 })],
  },
  'repeat-trap': {
    what: 'RF in the flags that a single-step trap pushes between two iterations of a string instruction',
    source: 'SDM vol. 3B 17.3.1.1; APM vol. 2 3.1.6 names faults only',
    snippets: [snippet(64, 'f3ac', { [rcx]: 3n, [rsi]: HERE }, { rflags: 0x302 })],
  },
  'partial-store': {
    what: 'the bytes that an x87 store of ten bytes has written when its last two fault',
    source: 'SDM vol. 3A 8.1.1',
    snippets: [snippet(64, 'd9e8db3b', { [rbx]: READ_ONLY - 8n })],
  },
  'store-order': {
    what: 'whether an x87 store looks at its memory before an unmasked exception keeps it from storing',
    source: 'no manual orders them',
    snippets: [snippet(64, 'db1b', { [rbx]: NOWHERE }, { fcw: 0x37e }), snippet(64, 'd91b', { [rbx]: NOWHERE }, { fcw: 0x37e })],
  },
  'bound-order': {
    what: 'whether BOUND reads its upper bound when the index is below the lower one',
    source: 'SDM vol. 2, BOUND, compares one after the other; it orders no reads',
    snippets: [snippet(32, '6203', { [rax]: 0x80000000n, [rbx]: NOWHERE - 4n })],
  },
  wrap: {
    what: 'an access across the 4-GiB border with 32-bit addresses: #GP or none, and the address that faults',
    source: 'SDM vol. 3A 5.3: implementation-specific, and may vary from one execution to another',
    snippets: [
      snippet(32, '0fae03', { [rbx]: 0xfffffff0n }),
      snippet(32, '8b03', { [rbx]: 0xfffffffen }),
      snippet(32, 'a5', { [rsi]: 0x10n, [rdi]: 0xfffffffen }),
      snippet(32, 'f3ac', { [rcx]: 0x400n, [rsi]: 0xfffffd66n }),
    ],
  },
} as const satisfies Record<string, ChoiceProbe>;

export type Choice = keyof typeof CHOICES;
/** The choices that a processor makes otherwise than the vCPU. */
export type Choices = ReadonlySet<Choice>;

export const ALL_CHOICES: Choices = new Set(Object.keys(CHOICES) as Choice[]);
export const NO_CHOICES: Choices = new Set();

/** Choices as a recording names them. Throws for a name that is none. */
export function choicesOf(names: readonly string[]): Choices {
  const unknown = names.find((name) => !ALL_CHOICES.has(name as Choice));
  if (unknown !== undefined)
    throw new Error(`'${unknown}' is no choice of a processor; expected some of ${[...ALL_CHOICES].join(', ')}`);
  return new Set(names as Choice[]);
}
