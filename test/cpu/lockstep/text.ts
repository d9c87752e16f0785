/** Cases as a person reads them. */
import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { type Case, CODE, REQUEST_SIZE, request } from './case.ts';

/** Disassembly of the snippet, without its closing INT3. */
export function disassemble(one: Case): string[] {
  const view = new DataView(one.record.buffer, one.record.byteOffset, REQUEST_SIZE);
  const length = view.getUint32(request.codeLength, true) - 1;
  const decoder = new Decoder(
    view.getUint32(request.mode, true),
    one.record.subarray(request.code, request.code + length),
    DecoderOptions.None,
  );
  decoder.ip = BigInt(CODE + view.getUint32(request.codeOffset, true));
  const formatter = new Formatter(FormatterSyntax.Intel);
  const lines: string[] = [];
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    const at = Number(decoder.ip) - instruction.length - CODE - view.getUint32(request.codeOffset, true);
    lines.push(
      `${Buffer.from(one.record.subarray(request.code + at, request.code + at + instruction.length))
        .toString('hex')
        .padEnd(22)} ${formatter.format(instruction)}`,
    );
    instruction.free();
  }
  decoder.free();
  formatter.free();
  return lines;
}

export function registersText(one: Case): string {
  const view = new DataView(one.record.buffer, one.record.byteOffset, REQUEST_SIZE);
  const names = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
  const gpr = names.map((name, i) => `${name}=${view.getBigUint64(request.gpr + i * 8, true).toString(16)}`);
  const fx = request.fx;
  return `${gpr.join(' ')} rflags=${view.getUint32(request.rflags, true).toString(16)} fcw=${view.getUint16(fx, true).toString(16)} fsw=${view.getUint16(fx + 2, true).toString(16)} ftw=${view.getUint8(fx + 4).toString(16)} mxcsr=${view.getUint32(fx + 24, true).toString(16)}`;
}
