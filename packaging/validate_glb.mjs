// Checks GLB files with the Khronos glTF validator.
//
//   npm install --prefix .node gltf-validator
//   node packaging/validate_glb.mjs FILE.glb ...
//
// Prints each error and warning; exits with 1 if any file has an error, with 3 if the validator is not installed.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const roots = [new URL("../.node/", import.meta.url), new URL("../", import.meta.url)];

function loadValidator() {
  for (const root of roots) {
    try {
      return createRequire(fileURLToPath(root) + "package.json")("gltf-validator");
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  console.error("gltf-validator is not installed: run `npm install --prefix .node gltf-validator`.");
  process.exit(3);
}

const validator = loadValidator();
const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node packaging/validate_glb.mjs FILE.glb ...");
  process.exit(2);
}
const severities = ["error", "warning"];
let failed = false;
for (const file of files) {
  const bytes = new Uint8Array(await readFile(file));
  const { issues } = await validator.validateBytes(bytes, { uri: basename(file), maxIssues: 50 });
  console.log(`${file}: ${issues.numErrors} errors, ${issues.numWarnings} warnings`);
  for (const m of issues.messages) {
    if (m.severity < severities.length) console.log(`  ${severities[m.severity]} ${m.code} ${m.pointer ?? ""}: ${m.message}`);
  }
  failed ||= issues.numErrors > 0;
}
process.exit(failed ? 1 : 0);
