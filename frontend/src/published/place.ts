/** Whether this page was published as files: then there is no server to ask, and none that changes anything. */

const meta = typeof document === "undefined" ? null : document.querySelector<HTMLMetaElement>('meta[name="kymflow-zarr-published"]');

/** Where the list of the images is; null: the page is from a server. */
export const publishedList: string | null = meta?.content || null;

/** Where another program has put the page of a server, such as /images; empty: at its root. */
export const base: string = (typeof document === "undefined" ? null : document.querySelector<HTMLMetaElement>('meta[name="kymflow-zarr-base"]'))?.content ?? "";

/** The folder of the page's own files. */
export const pageFolder = publishedList === null ? `${base}/` : publishedList.slice(0, publishedList.lastIndexOf("/") + 1);

/** A host of files knows no addresses but those of files, so that what is shown is behind the #. */
export const linkTo = (url: string) => (publishedList === null ? base + url : `#${url}`);

/** What is shown, of the address of the page. */
export function shownAt(): { path: string; search: string } {
  if (publishedList === null) return { path: location.pathname.slice(base.length) || "/", search: location.search };
  const text = location.hash.slice(1);
  if (!text.startsWith("/")) return { path: "/", search: "" };
  const at = text.indexOf("?");
  return at < 0 ? { path: text, search: "" } : { path: text.slice(0, at), search: text.slice(at) };
}

export const iconUrl = `${pageFolder}icon.svg`;
