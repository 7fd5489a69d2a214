export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export function isEqual(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
