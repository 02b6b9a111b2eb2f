// Holds objects against the patterns and limits of the operator's schemas. Reads {NAME: OBJECT} as JSON from standard input,
// prints a line for each object that is refused. The types, and fields that do not exist, are the compiler's to check.
import { readFileSync } from "node:fs";

for (const [name, object] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  const models = await import(`@kubernetes-models/prometheus-operator/${object.apiVersion}/${object.kind}`);
  try {
    new models[object.kind](object).validate();
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
}
