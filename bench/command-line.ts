/** The command line of a program that measures or compares. */
import { parseArgs, type ParseArgsConfig } from 'node:util';

type Options = NonNullable<ParseArgsConfig['options']>;
type Values<T extends Options> = ReturnType<typeof parseArgs<{ options: T }>>['values'];

/** Values of these options. `--help` prints `usage` and ends with status 0; an option that is not there ends with one line and status 2. */
export function commandLine<T extends Options>(usage: string, options: T): Values<T> {
  if (process.argv.includes('--help')) {
    console.log(`Usage: ${usage}`);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return refuse(`${(error as Error).message.split('. ')[0]}; usage: ${usage}`);
  }
}

/** The whole number, at least 1, that option `--name` was given. */
export function count(name: string, text: string): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 1 ? value : refuse(`--${name} ${text}: expected a whole number from 1`);
}

/** Says what is wrong with the command line, and ends with status 2. */
export function refuse(line: string): never {
  console.error(line);
  process.exit(2);
}
