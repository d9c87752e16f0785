/**
 * A plugin of Vite that makes at most one change to one source file while it is loaded. `current` gives the change
 * ({ file, find, replace }, the file from the project's root, `find` in it exactly once) or undefined.
 */
export const mutate = (current) => ({
  name: 'mutate',
  enforce: 'pre',
  transform(code, id) {
    const mutation = current();
    return mutation && id.endsWith(`/${mutation.file}`) ? code.replace(mutation.find, () => mutation.replace) : undefined;
  },
});
