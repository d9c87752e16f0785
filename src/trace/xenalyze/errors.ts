/** How bad something unexpected is; xenalyze goes on up to ERR_SANITY and ends with status 1 past that. */
export const ERR_SANITY = 3;
export const ERR_RECORD = 4;
export const ERR_FILE = 5;
export const ERR_ASSERT = 7;

/** xenalyze would have ended here, with status 1. */
export class EndOfTool extends Error {
  override name = 'EndOfTool';
}
