// Reads [[module, object as JSON], …]; writes [[index, complaint], …].
import { readFileSync } from "node:fs";

const found = [];
for (const [at, [module, text]] of JSON.parse(readFileSync(0, "utf8")).entries()) {
  const model = (await import(module))[module.split("/").at(-1)];
  try {
    new model(JSON.parse(text)).validate();
  } catch (error) {
    found.push([at, error.message]);
  }
}
process.stdout.write(JSON.stringify(found));
