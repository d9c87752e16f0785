/**
 * The processor that tests run on: its name, and what it can be asked. Probed once, by running snippets on it; nothing
 * is taken from its name.
 */
import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { Lack, lackOf, withheld } from '../needs.ts';
import { ALL_CHOICES, CHOICES, type Choice, type Choices } from './choices.ts';
import { type Case, type Mode, type Outcome, result, snippet } from './lockstep/case.ts';
import { compare, differentPointers } from './lockstep/compare.ts';
import { NativeProcessor } from './lockstep/native.ts';
import { OurProcessor } from './lockstep/ours.ts';

export interface Processor {
  /** For people: vendor, model, and where the system tells them family, model and stepping. */
  readonly name: string;
  /** Why no program can be run on it here, if so. */
  readonly native: Lack;
  /** The same for 32-bit code: some virtual machines refuse its code segment. */
  readonly native32: Lack;
  /** Names as iced-x86 has them, of the instruction sets beyond x86-64's first that the vCPU has and this processor runs. */
  readonly features: readonly string[];
  readonly choices: Choices;
}

/** An instruction of each set that not every x86-64 processor or system lets programs use. RBX points at 16 aligned bytes. */
const FEATURES: Readonly<Record<string, string>> = { FSGSBASE: 'f3480faec0', CMPXCHG16B: '480fc70b' };

/**
 * Sets that a program may use only where the system says that it keeps their registers: the bit of AT_HWCAP2. A system that does
 * not know FSGSBASE may still run WRGSBASE (its hypervisor has set the bit of CR4), and loses the base at the next interrupt.
 */
const KEPT_BY_SYSTEM: Readonly<Record<string, bigint>> = { FSGSBASE: 1n << 1n };
const AT_HWCAP2 = 26n;

/** What the system tells programs in AT_HWCAP2 (getauxval(3)); every bit where it cannot be asked. */
function hwcap2(): bigint {
  const file = '/proc/self/auxv';
  if (!existsSync(file)) return -1n;
  const words = new BigUint64Array(Uint8Array.from(readFileSync(file)).buffer);
  for (let i = 0; i + 1 < words.length; i += 2) if (words[i] === AT_HWCAP2) return words[i + 1]!;
  return 0n;
}

export function processorName(): string {
  const model = cpus()[0]?.model.trim() || `unknown ${process.arch}`;
  if (!existsSync('/proc/cpuinfo')) return model;
  const text = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name: string): string | undefined => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1];
  const [vendor, family, number, stepping] = ['vendor_id', 'cpu family', 'model', 'stepping'].map(field);
  return vendor === undefined || family === undefined
    ? model
    : `${model} (${vendor}, family ${family}, model ${number}, stepping ${stepping})`;
}

const vectorOf = (outcome: Outcome): number =>
  new DataView(outcome.record.buffer, outcome.record.byteOffset).getUint32(result.vector, true);
const selectorOf = (outcome: Outcome): number =>
  new DataView(outcome.record.buffer, outcome.record.byteOffset).getUint16(result.selectors + 2, true);
const BREAKPOINT = 3;
/** Each snippet is asked more than once: an interrupt that comes between changes some answers. */
const TIMES = 20;

async function probe(): Promise<Processor> {
  const name = processorName();
  const nothing = (native: Lack): Processor => ({ name, native, native32: native, features: [], choices: ALL_CHOICES });
  const lack = await lackOf('x86', 'gcc');
  if (lack.skip) return nothing(lack);
  const native = new NativeProcessor();
  try {
    /** Does this code end at its INT3, in this mode? */
    const runs = async (mode: Mode, code: string): Promise<boolean> => {
      const [outcome] = await native.run([snippet(mode, code, { 3: 0x20000200n })]);
      return outcome !== undefined && vectorOf(outcome) === BREAKPOINT && selectorOf(outcome) === (mode === 64 ? 0x33 : 0x23);
    };
    if (!(await runs(64, '90'))) return nothing(new Lack('the system does not run the native snippets'));
    const modes: Mode[] = !withheld('32-bit') && (await runs(32, '90')) ? [64, 32] : [64];
    const features: string[] = [];
    const kept = hwcap2();
    for (const [feature, code] of Object.entries(FEATURES))
      if (((KEPT_BY_SYSTEM[feature] ?? 0n) & ~kept) === 0n && (await runs(64, code))) features.push(feature);
    const native32 = modes.includes(32)
      ? native32There
      : withheld('32-bit')
        ? new Lack('32-bit is withheld')
        : new Lack('the processor or its hypervisor refuses 32-bit code of user programs');
    return {
      name,
      native: lack,
      native32,
      features,
      choices: withheld('same-model') ? ALL_CHOICES : await choicesOf(native, modes),
    };
  } finally {
    native.close();
  }
}
const native32There = new Lack('');

/** The choices whose snippets leave something else on the processor than on the vCPU. */
async function choicesOf(native: NativeProcessor, modes: readonly Mode[]): Promise<Choices> {
  const ours = new OurProcessor();
  const found = new Set<Choice>();
  for (const [choice, { snippets }] of Object.entries(CHOICES) as [Choice, (typeof CHOICES)[Choice]][]) {
    const asked = snippets.filter((one) => modes.includes(one.record[0] as Mode));
    const answers: Outcome[] = [];
    for (let time = 0; time < TIMES; time++) answers.push(...(await native.run(asked)));
    const mine = asked.map((one) => ours.run(one));
    const differs = (theirs: Outcome, time: number): boolean => {
      const one = asked[time % asked.length] as Case;
      const own = mine[time % asked.length] as Outcome;
      return compare(one, theirs, own).length > 0 || (choice === 'pointers' && differentPointers(theirs, own));
    };
    if (answers.some(differs)) found.add(choice);
  }
  return found;
}

let probed: Promise<Processor> | undefined;
/** The processor, probed on the first call. */
export const thisProcessor = (): Promise<Processor> => (probed ??= probe());
