// A worker: where the nodes and edges of a graph go, by dagre, away from the thread that draws.
"use strict";
importScripts("vendor/dagre/dagre.min.js");
const EXACT = 120; // nodes up to which the slow, prettier ranking is quick enough

self.onmessage = ({ data }) => {
  const { nodes, edges, width, height, direction } = data;
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: direction, nodesep: 12, ranksep: 56, ranker: nodes.length > EXACT ? "tight-tree" : "network-simplex" });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node, { width, height });
  for (const [from, to] of edges) graph.setEdge(from, to);
  dagre.layout(graph);
  const placed = nodes.map((node) => [graph.node(node).x, graph.node(node).y]);
  const paths = edges.map(([from, to]) => graph.edge(from, to).points.map(({ x, y }) => [x, y]));
  self.postMessage({ placed, paths, width: graph.graph().width || 0, height: graph.graph().height || 0 });
};
