/** Plain data with typed arrays as bytes: MessagePack, with an extension for each kind of typed array. */
import { decode, encode, ExtensionCodec } from '@msgpack/msgpack';
import { UserError } from '../../base/errors.ts';

/** Extension numbers are places in this list; numbers in a file never change their meaning. Uint8Array is MessagePack's own. */
const ARRAYS = [Uint16Array, Uint32Array, Int32Array, Float64Array, BigUint64Array] as const;

const extensions = new ExtensionCodec();
ARRAYS.forEach((kind, type) =>
  extensions.register({
    type,
    encode: (value) => (value instanceof kind ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null),
    decode: (bytes) => {
      if (bytes.length % kind.BYTES_PER_ELEMENT !== 0) throw new RangeError('a typed array of odd length');
      return new kind(new Uint8Array(bytes).buffer);
    },
  }),
);

export const encodeState = (state: unknown): Uint8Array => encode(state, { extensionCodec: extensions });

/** Throws UserError when the bytes are not what encodeState gives. */
export function decodeState(bytes: Uint8Array): unknown {
  try {
    // Byte arrays come out as the kind that goes in: never as Node's Buffer.
    const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return decode(plain, { extensionCodec: extensions });
  } catch (error) {
    throw new UserError(`saved state: cannot be read: ${(error as Error).message}`);
  }
}
