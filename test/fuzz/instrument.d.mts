/** JavaScript with counters, and how many branches it has. */
export function instrument(code: string, name: string): { code: string; branches: number };
