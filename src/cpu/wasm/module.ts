/** A WebAssembly module under construction: types, imports, functions, one memory, one function table. */
import { Encoder } from './encoder.ts';
import { VAL_TYPE_CODE, type Expr, type Stmt, type ValType } from './expr.ts';

export interface Signature {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
}

/** A local variable or parameter of a function. */
export class Local<T extends ValType> {
  readonly type: T;
  readonly index: number;
  readonly get: Expr<T>;

  constructor(type: T, index: number) {
    this.type = type;
    this.index = index;
    this.get = {
      type,
      write: (out) => {
        out.byte(0x20);
        out.u32(index);
      },
    };
  }

  set(value: Expr<T>): Stmt {
    return (out) => {
      value.write(out);
      out.byte(0x21);
      out.u32(this.index);
    };
  }

  tee(value: Expr<T>): Expr<T> {
    return {
      type: this.type,
      write: (out) => {
        value.write(out);
        out.byte(0x22);
        out.u32(this.index);
      },
    };
  }
}

/** Locals of one function body; hands out new ones on request. */
export class FunctionBuilder {
  readonly signature: Signature;
  private readonly extra: ValType[] = [];

  constructor(signature: Signature) {
    this.signature = signature;
  }

  param<T extends ValType>(type: T, index: number): Local<T> {
    if (this.signature.params[index] !== type) throw new Error(`wasm: parameter ${index} is no ${type}`);
    return new Local(type, index);
  }

  local<T extends ValType>(type: T): Local<T> {
    this.extra.push(type);
    return new Local(type, this.signature.params.length + this.extra.length - 1);
  }

  encode(body: Stmt): Encoder {
    const out = new Encoder();
    out.u32(this.extra.length);
    for (const type of this.extra) {
      out.u32(1);
      out.byte(VAL_TYPE_CODE[type]);
    }
    body(out);
    out.byte(0x0b);
    return out;
  }
}

/** A function that code can call: import or own, by index. */
export class FunctionRef {
  readonly index: number;
  readonly signature: Signature;

  constructor(index: number, signature: Signature) {
    this.index = index;
    this.signature = signature;
  }

  /** Call for its single result. */
  call<T extends ValType>(type: T, ...args: Expr<ValType>[]): Expr<T> {
    if (this.signature.results[0] !== type) throw new Error(`wasm: call gives ${this.signature.results[0]}, not ${type}`);
    return { type, write: (out) => this.writeCall(out, args) };
  }

  /** Call of a function without results. */
  run(...args: Expr<ValType>[]): Stmt {
    if (this.signature.results.length) throw new Error('wasm: the result of this call would stay on the stack');
    return (out) => this.writeCall(out, args);
  }

  /** End this function with what the call gives: as a tail call, or a call and a return where the engine has none. */
  finish(tail: boolean, ...args: Expr<ValType>[]): Stmt {
    return (out) => {
      this.writeCall(out, args, tail ? 0x12 : 0x10);
      if (!tail) out.byte(0x0f);
    };
  }

  private writeCall(out: Encoder, args: Expr<ValType>[], code = 0x10): void {
    if (args.length !== this.signature.params.length) throw new Error('wasm: wrong number of arguments');
    for (const argument of args) argument.write(out);
    out.byte(code);
    out.u32(this.index);
  }
}

const WASM_PAGE = 0x10000;

export class ModuleBuilder {
  private readonly types: Signature[] = [];
  private readonly imports: { name: string; type: number }[] = [];
  private readonly functions: { type: number; body: Encoder | undefined; export: string | undefined }[] = [];
  private readonly table: number[] = [];
  private readonly maximumPages: number;
  private readonly isShared: boolean;

  /** A memory like `memory` is imported as env.memory: as many 64 KiB pages at most, shared or not. */
  constructor(memory: Pick<WebAssembly.Memory, 'buffer'>) {
    this.maximumPages = memory.buffer.byteLength / WASM_PAGE;
    this.isShared = !(memory.buffer instanceof ArrayBuffer);
  }

  typeIndex(signature: Signature): number {
    const same = (a: readonly ValType[], b: readonly ValType[]) => a.length === b.length && a.every((t, i) => t === b[i]);
    const found = this.types.findIndex((t) => same(t.params, signature.params) && same(t.results, signature.results));
    if (found >= 0) return found;
    this.types.push(signature);
    return this.types.length - 1;
  }

  /** Import env.<name>. All imports come before the first function. */
  import(name: string, signature: Signature): FunctionRef {
    if (this.functions.length) throw new Error('wasm: imports come before functions');
    this.imports.push({ name, type: this.typeIndex(signature) });
    return new FunctionRef(this.imports.length - 1, signature);
  }

  /** Reserve a function; its body follows with `define`. */
  declare(signature: Signature, exportName?: string): FunctionRef {
    this.functions.push({ type: this.typeIndex(signature), body: undefined, export: exportName });
    return new FunctionRef(this.imports.length + this.functions.length - 1, signature);
  }

  define(ref: FunctionRef, builder: FunctionBuilder, body: Stmt): void {
    this.functions[ref.index - this.imports.length]!.body = builder.encode(body);
  }

  /** A function whose body is encoded already: it may have asked for imports on the way. */
  add(signature: Signature, body: Encoder, exportName: string): void {
    this.functions.push({ type: this.typeIndex(signature), body, export: exportName });
  }

  /** Append to table 0; gives the slot. */
  addToTable(ref: FunctionRef): number {
    this.table.push(ref.index);
    return this.table.length - 1;
  }

  /** call_indirect through table 0, for its single result. */
  callIndirect<T extends ValType>(type: T, signature: Signature, slot: Expr<'i32'>, args: readonly Expr<ValType>[]): Expr<T> {
    const index = this.typeIndex(signature);
    return {
      type,
      write: (out) => {
        for (const argument of args) argument.write(out);
        slot.write(out);
        out.byte(0x11);
        out.u32(index);
        out.byte(0);
      },
    };
  }

  /** End this function with what function `slot` of table 0 gives; a tail call where `tail` says so. */
  finishIndirect(tail: boolean, signature: Signature, slot: Expr<'i32'>, args: readonly Expr<ValType>[]): Stmt {
    const index = this.typeIndex(signature);
    return (out) => {
      for (const argument of args) argument.write(out);
      slot.write(out);
      out.byte(tail ? 0x13 : 0x11);
      out.u32(index);
      out.byte(0);
      if (!tail) out.byte(0x0f);
    };
  }

  /** @param table table 0 gets room for `size` functions and is exported by this name. */
  finish(table: { export: string; size: number } = { export: '', size: this.table.length }): Uint8Array<ArrayBuffer> {
    const out = new Encoder();
    for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.byte(byte);
    const section = (id: number, fill: (part: Encoder) => void) => {
      const part = new Encoder();
      fill(part);
      out.byte(id);
      out.sized(part);
    };
    section(1, (part) => {
      part.u32(this.types.length);
      for (const type of this.types) {
        part.byte(0x60);
        for (const list of [type.params, type.results]) {
          part.u32(list.length);
          for (const value of list) part.byte(VAL_TYPE_CODE[value]);
        }
      }
    });
    section(2, (part) => {
      part.u32(this.imports.length + 1);
      for (const entry of this.imports) {
        part.name('env');
        part.name(entry.name);
        part.byte(0);
        part.u32(entry.type);
      }
      part.name('env');
      part.name('memory');
      part.byte(2);
      part.byte(this.isShared ? 3 : 1);
      part.u32(1);
      part.u32(this.maximumPages);
    });
    section(3, (part) => {
      part.u32(this.functions.length);
      for (const entry of this.functions) part.u32(entry.type);
    });
    if (table.size) {
      section(4, (part) => {
        part.u32(1);
        part.byte(0x70);
        part.byte(1);
        part.u32(table.size);
        part.u32(table.size);
      });
    }
    section(7, (part) => {
      const exported = this.functions.map((entry, i) => ({ entry, i })).filter(({ entry }) => entry.export);
      part.u32(exported.length + (table.export ? 1 : 0));
      if (table.export) {
        part.name(table.export);
        part.byte(1);
        part.u32(0);
      }
      for (const { entry, i } of exported) {
        part.name(entry.export!);
        part.byte(0);
        part.u32(this.imports.length + i);
      }
    });
    if (this.table.length) {
      section(9, (part) => {
        part.u32(1);
        part.u32(0);
        part.byte(0x41);
        part.s32(0);
        part.byte(0x0b);
        part.u32(this.table.length);
        for (const index of this.table) part.u32(index);
      });
    }
    section(10, (part) => {
      part.u32(this.functions.length);
      for (const entry of this.functions) {
        if (!entry.body) throw new Error('wasm: a declared function has no body');
        part.sized(entry.body);
      }
    });
    return new Uint8Array(out.finish());
  }
}
