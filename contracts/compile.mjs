// Compiles every .sol file here and in test/ with the pinned solc into out/X.sol/X.json, in the layout that forge
// writes, plus `topics` (event name -> topic0, as solc hashes it). Run it by `scripts/tools`.
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const sources = {};
for (const folder of [".", "test"]) {
  for (const name of readdirSync(join(here, folder)).filter((name) => name.endsWith(".sol")).sort()) {
    sources[join(folder, name)] = { content: readFileSync(join(here, folder, name), "utf8") };
  }
}

// What a source imports comes from npm, pinned by the lock file.
const imported = (path) => {
  try {
    return { contents: readFileSync(join(here, "node_modules", path), "utf8") };
  } catch (error) {
    return { error: error.message };
  }
};

const outputs = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.methodIdentifiers"];
const input = {
  language: "Solidity",
  sources,
  settings: {
    optimizer: { enabled: true, runs: 200 },
    // No hash of the metadata at the end of the code: equal sources give equal bytes wherever they lie.
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": outputs, "": ["ast"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: imported }));

const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
// What the compiler warns of in a library from npm is not ours to mend.
const ours = ({ severity, sourceLocation }) => severity === "error" || sourceLocation?.file in sources;
for (const { formattedMessage } of (output.errors ?? []).filter(ours)) console.error(formattedMessage);
if (errors.length > 0) process.exit(1);

const topicsOf = (path, name) => {
  const { nodes } = output.sources[path].ast.nodes.find((node) => node.name === name);
  const events = nodes.filter(({ nodeType }) => nodeType === "EventDefinition");
  return Object.fromEntries(events.map((event) => [event.name, `0x${event.eventSelector}`]));
};

// Written beside and renamed at the end: a stopped run leaves no half of an out/.
const fresh = join(here, `out.${process.pid}`);
for (const [path, contracts] of Object.entries(output.contracts).filter(([path]) => path in sources)) {
  const folder = join(fresh, basename(path));
  mkdirSync(folder, { recursive: true });
  for (const [name, { abi, evm }] of Object.entries(contracts)) {
    const artifact = {
      abi,
      bytecode: { object: `0x${evm.bytecode.object}` },
      deployedBytecode: { object: `0x${evm.deployedBytecode.object}` },
      methodIdentifiers: evm.methodIdentifiers,
      topics: topicsOf(path, name),
    };
    writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(artifact, null, 2)}\n`);
  }
}
rmSync(join(here, "out"), { recursive: true, force: true });
renameSync(fresh, join(here, "out"));
