export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export const isText = (value) => typeof value === "string";

export function isEqual(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
