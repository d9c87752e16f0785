/**
 * The forms of an instruction row: each combination of operand size, address form, LOCK … that generated code treats
 * apart is one handler of the interpreter.
 */
import type { FlagsFrom, Mode } from '../emit/context.ts';
import type { Encoding, Instruction } from '../tables/definition.ts';
import { hasAddress, type OperandSpec, type WordSize } from '../tables/operands.ts';

const ADDRESS_FORMS = ['register', 'inline', 'computed'] as const;
/** register: no memory operand. inline: base + index × scale + disp in the record. computed: an address record goes before. */
type AddressForm = (typeof ADDRESS_FORMS)[number];
const FLAGS_FROM = ['any', 'sub', 'logic'] as const;
const MODES: readonly Mode[] = ['long', 'legacy'];
const WORD_SIZES: readonly WordSize[] = [2, 4, 8];

export interface Form {
  operandSize: WordSize;
  addressSize: WordSize;
  address: AddressForm;
  locked: boolean;
  flagsFrom: FlagsFrom;
  chained: boolean;
  mode: Mode;
}

/** The row as an object of one shape: what looks at rows then knows where each attribute lies. */
const uniform = ({
  name,
  opcode,
  encoding,
  operands,
  emit,
  emitChained,
  hot,
  rare,
  size64,
  only,
  lock,
  flags,
  usesFlags,
  ends,
  chains,
  string,
  aligned,
  addressOnly,
  hint,
  noRexB,
  before,
  writes,
}: Instruction): Instruction =>
  ({
    name,
    opcode,
    encoding,
    operands,
    emit,
    emitChained,
    hot,
    rare,
    size64,
    only,
    lock,
    flags,
    usesFlags,
    ends,
    chains,
    string,
    aligned,
    addressOnly,
    hint,
    noRexB,
    before,
    writes,
  }) as Instruction;

/** A row with its encoding and the handler of each form. */
export class InstructionForms {
  readonly instruction: Instruction;
  readonly encoding: Encoding;
  readonly usesOperandSize: boolean;
  readonly usesAddressSize: boolean;
  /** The operand that can lie in memory. */
  readonly addressed: OperandSpec | undefined;
  private readonly handlers = new Int32Array(3 * 3 * 3 * 2 * 3 * 2 * 2).fill(-1);

  constructor(instruction: Instruction) {
    this.instruction = uniform(instruction);
    this.encoding = instruction.encoding;
    this.usesOperandSize = instruction.operands.some((o) => o.scales === 'operand');
    this.usesAddressSize = instruction.operands.some((o) => o.scales === 'address');
    this.addressed = instruction.operands.find(hasAddress);
  }

  /** Every form that decoding can ask for. */
  forms(): Form[] {
    const { instruction } = this;
    const registerPossible = this.encoding.mod !== 'mem' && this.addressed?.kind !== 'moffs';
    const memoryPossible = this.addressed !== undefined && this.encoding.mod !== 'reg';
    const addresses: AddressForm[] = [
      ...(registerPossible ? ['register' as const] : []),
      ...(memoryPossible ? [...(instruction.hot ? ['inline' as const] : []), 'computed' as const] : []),
    ];
    const modes = MODES.filter((mode) => !instruction.only || instruction.only === mode);
    const operandSizes = this.usesOperandSize ? WORD_SIZES : ([4] as const);
    const addressSizes = this.usesAddressSize ? WORD_SIZES : ([4] as const);
    const all = product({
      mode: modes,
      operandSize: operandSizes,
      addressSize: addressSizes,
      address: addresses,
      locked: instruction.lock ? [false, true] : [false],
      flagsFrom: instruction.usesFlags ? FLAGS_FROM : (['any'] as const),
      chained: instruction.chains ? [false, true] : [false],
    });
    return all.filter((form) => this.possible(form));
  }

  private possible({ mode, operandSize, address, locked, flagsFrom, chained }: Form): boolean {
    const { lock, size64 } = this.instruction;
    if (mode === 'legacy' && (operandSize === 8 || address === 'inline' || flagsFrom !== 'any' || chained)) return false;
    if (mode === 'long' && operandSize === 4 && size64 && this.usesOperandSize) return false;
    if (address === 'register') return !locked;
    return lock === 'implied' ? locked && address !== 'inline' : !(locked && address === 'inline');
  }

  private slot(form: Form): number {
    let slot = form.operandSize >> 2;
    slot = slot * 3 + (this.usesAddressSize ? form.addressSize >> 2 : 0);
    slot = slot * 3 + ADDRESS_FORMS.indexOf(form.address);
    slot = slot * 2 + (form.locked ? 1 : 0);
    slot = slot * 3 + (form.flagsFrom === 'any' ? 0 : form.flagsFrom === 'sub' ? 1 : 2);
    slot = slot * 2 + (form.chained ? 1 : 0);
    return slot * 2 + (form.mode === 'long' ? 0 : 1);
  }

  setHandler(form: Form, handler: number): void {
    this.handlers[this.slot(form)] = handler;
  }

  /** Handler number; -1: the table has no such form (an invalid LOCK, for example). */
  handler(form: Form): number {
    return this.handlers[this.slot(form)]!;
  }
}

/** Every combination of one value for each key; the first key changes slowest. */
function product(axes: { readonly [K in keyof Form]: readonly Form[K][] }): Form[] {
  let forms: Partial<Form>[] = [{}];
  for (const [key, values] of Object.entries(axes))
    forms = forms.flatMap((form) => values.map((value) => ({ ...form, [key]: value })));
  return forms as Form[];
}

/** Forms that little code runs often: locked and 16-bit ones, memory operands of rows that are not hot, and rare rows. */
export function isRare({ instruction, usesOperandSize }: InstructionForms, form: Form): boolean {
  return (
    instruction.rare === true ||
    form.locked ||
    (usesOperandSize && form.operandSize === 2) ||
    (form.address === 'computed' && !instruction.hot)
  );
}
