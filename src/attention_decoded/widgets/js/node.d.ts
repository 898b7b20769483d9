// The little of Node that still.js uses: @types/node would bring its globals into the browser's code.
declare module "node:fs" {
  export function readFileSync(path: string): Uint8Array;
  export function readFileSync(path: string | number, encoding: "utf8"): string;
}
declare const process: { stdout: { write(text: string): void } };
