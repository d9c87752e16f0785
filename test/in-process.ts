/** Runs a command of `xenolith` in the calling process: hundreds of milliseconds less than a process of its own. */
import { vi } from 'vitest';
import { runProgram } from '../src/cli/program.ts';

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** One command in a folder. */
export async function runHere(folder: string, args: readonly string[]): Promise<Outcome> {
  const written = { stdout: '', stderr: '' };
  const spies = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      written[name] += String(text);
      return true;
    }),
  );
  const consoles = (['log', 'error'] as const).map((name) =>
    vi.spyOn(console, name).mockImplementation((text: string) => {
      written[name === 'log' ? 'stdout' : 'stderr'] += `${text}\n`;
    }),
  );
  const before = process.cwd();
  process.chdir(folder);
  try {
    await runProgram(args);
    return { ...written, status: Number(process.exitCode ?? 0) };
  } finally {
    process.chdir(before);
    process.exitCode = undefined;
    for (const spy of [...spies, ...consoles]) spy.mockRestore();
  }
}
