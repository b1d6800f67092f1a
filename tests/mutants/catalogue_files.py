"""Mutants of the exported file."""

from onnx import TensorProto

from slide_deploy.graph_checks.census import CENSUS_KEY
from slide_deploy.graph_checks.interface import INTERFACE_KEY
from slide_deploy.graph_checks.normalisations import NORMALISATIONS_KEY
from tests.mutants import bytes_damage as raw
from tests.mutants import declared
from tests.mutants import litert_damage as lite
from tests.mutants import mlpackage_damage as coreml
from tests.mutants import onnx_damage as onnx
from tests.mutants import openvino_damage as ir
from tests.mutants.kinds import edits, everywhere, file
from tests.mutants.mutant import REFUSED, by_format
from tests.mutants.openvino_damage import in_model, in_xml

OPERATORS = (
    file(
        "foreign-domain",
        "An operator comes from another domain.",
        "both",
        edits(
            onnx.foreign_domain,
            in_xml(ir.foreign_domain),
            coreml.foreign_operator,
            litert=lite.foreign_domain,
        ),
        rule={"onnx": "SD005", "openvino": "SD005", "coreml": "SD004", "litert": "SD005"},
    ),
    file(
        "unlisted-operator",
        "An operator is standard and not allowed.",
        "both",
        edits(
            onnx.unlisted_operator,
            in_xml(ir.unlisted_operator),
            coreml.unlisted_operator,
            litert=lite.unlisted_operator,
        ),
        rule="SD004",
    ),
    file(
        "own-function",
        "The file defines an operator.",
        "check",
        edits(onnx.own_function),
        rule="SD005",
    ),
    file(
        "old-opset",
        "The operators are of an old version.",
        "both",
        edits(onnx.old_opset),
        rule="SD003",
    ),
    file(
        "opset-of-the-future",
        "The operators are of a version that does not exist.",
        by_format("both", coreml="check"),
        edits(
            onnx.opset_of_the_future,
            in_xml(ir.opset_of_the_future),
            coreml.opset_of_the_future,
            litert=lite.opset_of_the_future,
        ),
        rule="SD003",
    ),
    file(
        "format-of-the-future",
        "The file format has a version that does not exist.",
        by_format("both", coreml="check"),
        edits(
            onnx.format_of_the_future,
            in_xml(ir.format_of_the_future),
            coreml.format_of_the_future,
            litert=lite.format_of_the_future,
        ),
        rule="SD003",
    ),
    file(
        "rank-6",
        "A value passes through rank 6 and back.",
        "check",
        edits(onnx.rank_6, in_model(ir.rank_6), coreml.rank_6, litert=lite.rank_6),
        rule="SD008",
    ),
    file(
        "rank-5-in-slide-attention",
        "A value inside slide attention passes through rank 5.",
        "check",
        edits(
            onnx.rank_5_in_slide_attention,
            in_model(ir.rank_5_in_slide_attention),
            coreml.rank_5_in_slide_attention,
            litert=lite.rank_5_in_slide_attention,
        ),
        rule="SD008",
    ),
    file(
        "doubles",
        "A value is cast to float64 and back.",
        by_format("check", coreml="both"),
        edits(
            onnx.through(TensorProto.DOUBLE),
            in_model(ir.through("f64")),
            coreml.through("float64", "fp64"),
            litert=lite.through(lite.FLOAT64),
        ),
        rule="SD007",
    ),
    file(
        "halves",
        "A value is cast to float16 and back.",
        # OpenVINO on the CPU takes such a detour out: its answers are right.
        by_format("both", openvino="check"),
        edits(
            onnx.through(TensorProto.FLOAT16),
            in_model(ir.through("f16")),
            coreml.through("float16", "fp16"),
            litert=lite.through(lite.FLOAT16),
        ),
        rule="SD021",
    ),
    file(
        "quantised-detour",
        "A value is rounded to eight bits and back.",
        "parity",
        edits(onnx.quantised_detour, in_model(ir.quantised_detour)),
    ),
    file(
        "clipped",
        "Activations are cut off at 3.",
        "parity",
        edits(onnx.clipped, in_model(ir.clipped), coreml.clipped, litert=lite.clipped),
    ),
    file(
        "control-flow",
        "A branch chooses between two ways that are the same.",
        by_format("check", coreml="both"),
        edits(
            onnx.control_flow,
            in_model(ir.control_flow),
            coreml.control_flow,
            litert=lite.control_flow,
        ),
        rule="SD006",
    ),
    file(
        "gather-with-a-table",
        "A value is gathered with a table of indices.",
        "check",
        edits(
            onnx.gather_with_a_table,
            in_model(ir.gather_with_a_table),
            coreml.gather_with_a_table,
            litert=lite.gather_with_a_table,
        ),
        rule="SD016",
    ),
    file(
        "neighbours-gathered",
        "Nine neighbours of each position are gathered.",
        "check",
        edits(
            onnx.neighbours_gathered, in_model(ir.neighbours_gathered), coreml.neighbours_gathered
        ),
        rule="SD016",
    ),
)

INTERFACE = (
    file(
        "renamed-input",
        "The input has another name.",
        "check",
        edits(
            onnx.renamed_input,
            in_xml(ir.renamed("Parameter", "image", "picture")),
            coreml.renamed_input,
            litert=lite.renamed("inputs", "picture"),
        ),
        rule="SD010",
    ),
    file(
        "renamed-input-in-the-description",
        "The input has another name for applications than in the program.",
        "check",
        edits(coreml=coreml.renamed_input_in_the_description),
        rule="SD020",
    ),
    file(
        "renamed-output",
        "The output has another name.",
        "check",
        edits(
            onnx.renamed_output,
            in_xml(ir.renamed("Result", "logits", "scores")),
            coreml.renamed_output,
            litert=lite.renamed("outputs", "scores"),
        ),
        rule="SD010",
    ),
    file(
        "signature-lost",
        "Inputs and outputs have the converter's names.",
        "check",
        edits(litert=lite.signature_lost),
        rule="SD010",
    ),
    file(
        "doubles-in-the-description",
        "The image is float64 for applications and float32 in the program.",
        by_format("both", coreml="check"),
        edits(openvino=in_xml(ir.doubles_in_data_only), coreml=coreml.doubles_in_the_description),
        rule="SD020",
    ),
    file(
        "second-input",
        "There is a second input that nothing reads.",
        "both",
        edits(
            onnx.second_input,
            in_model(ir.second_input),
            coreml.second_input,
            litert=lite.second_input,
        ),
        rule="SD010",
    ),
    file(
        "open-height",
        "The height of the image is open.",
        by_format("both", litert="check"),
        edits(
            onnx.open_height,
            in_xml(ir.open_height),
            coreml.open_height,
            litert=lite.image_shape(2, -1),
        ),
        rule="SD010",
    ),
    file(
        "open-height-in-data-only",
        "The height is open where the runtime looks and fixed where others look.",
        "both",
        edits(openvino=in_xml(ir.open_height_in_data_only)),
        rule="SD020",
    ),
    file(
        "batch-of-another-name",
        "The open batch has a name that nobody knows.",
        "check",
        edits(onnx.batch_of_another_name),
        open_batch=True,
        rule="SD009",
    ),
    file(
        "batch-fixed-inside",
        "The batch is open outside and one inside.",
        by_format("parity", onnx="both"),
        edits(onnx.batch_fixed_inside, in_model(ir.batch_fixed_inside), coreml.batch_fixed_inside),
        open_batch=True,
        rule="SD013",
    ),
    file(
        "smaller-image",
        "The image is declared smaller than it is.",
        "both",
        edits(
            onnx.smaller_image,
            in_xml(ir.smaller_image),
            coreml.smaller_image,
            litert=lite.image_shape(2, 64),
        ),
        rule="SD002",
    ),
    file(
        "fewer-channels",
        "The image is declared with one channel.",
        "both",
        edits(
            onnx.fewer_channels,
            in_xml(ir.fewer_channels),
            coreml.fewer_channels,
            litert=lite.image_shape(1, 1),
        ),
        rule="SD002",
    ),
    file(
        "input-of-doubles",
        "The image is declared as float64.",
        by_format("check", coreml="both"),
        edits(
            onnx.input_of_doubles,
            in_model(ir.input_of_doubles),
            coreml.input_of_doubles,
            litert=lite.input_of_doubles,
        ),
        rule="SD010",
    ),
    file(
        "output-removed",
        "The file has no output.",
        "both",
        edits(
            onnx.output_removed,
            in_xml(ir.output_removed),
            coreml.output_removed,
            litert=lite.output_removed,
        ),
        rule="SD001",
    ),
    file(
        "second-output",
        "An inner value became an output.",
        "check",
        edits(
            onnx.second_output,
            in_model(ir.second_output),
            coreml.second_output,
            litert=lite.second_output,
        ),
        rule="SD010",
    ),
    file(
        "no-metadata",
        "The file says nothing of itself.",
        "check",
        edits(
            onnx.no_metadata, in_xml(ir.no_metadata), coreml.no_metadata, litert=lite.no_metadata
        ),
        rule="SD017",
    ),
    file(
        "half-precision-claimed",
        "The file claims float16, which would excuse larger errors.",
        "check",
        edits(
            onnx.half_precision_claimed,
            in_xml(ir.half_precision_claimed),
            coreml.half_precision_claimed,
            litert=lite.half_precision_claimed,
        ),
        rule="SD021",
    ),
    *(
        file(
            name,
            description,
            "check",
            edits(
                onnx.declared(key, change),
                in_xml(ir.declared(key, change)),
                coreml.declared(key, change),
                lite.declared(key, change),
            ),
            rule=rule,
        )
        for name, description, key, change, rule in (
            (
                "another-geometry",
                "The file claims wider convolutions in a slide attention.",
                CENSUS_KEY,
                declared.another_geometry,
                "SD017",
            ),
            (
                "another-kernel",
                "The file claims kernels of another size.",
                CENSUS_KEY,
                declared.another_kernel,
                "SD017",
            ),
            (
                "one-geometry-undeclared",
                "The file is silent about one kind of convolution.",
                CENSUS_KEY,
                declared.one_geometry_less,
                "SD017",
            ),
            (
                "one-mixing-too-many",
                "The file claims a matrix product that it does not have.",
                CENSUS_KEY,
                declared.one_mixing_more,
                "SD017",
            ),
            (
                "every-mixing-twice",
                "The file claims everything twice that mixes channels.",
                CENSUS_KEY,
                declared.every_mixing_twice,
                "SD017",
            ),
            (
                "one-normalisation-too-many",
                "The file claims a normalisation that it does not have.",
                NORMALISATIONS_KEY,
                declared.one_normalisation_more,
                "SD019",
            ),
            (
                "larger-image-declared",
                "The file claims an image of another height.",
                INTERFACE_KEY,
                declared.a_larger_image,
                "SD010",
            ),
        )
    ),
)

STORED = (
    file(
        "stale-constant",
        "A constant is stored that nothing reads.",
        "check",
        edits(
            onnx.stale_constant,
            in_xml(ir.stale_constant),
            coreml.stale_constant,
            litert=lite.stale_constant,
        ),
        rule="SD013",
    ),
    file(
        "duplicated-constant",
        "A constant is stored twice.",
        "check",
        {
            **edits(
                onnx.duplicated_constant, ir.duplicated_constant, litert=lite.duplicated_constant
            ),
            "coreml": coreml.duplicated_constant,
        },
        rule="SD014",
    ),
    file(
        "weights-outside",
        "Weights are said to stand where the file has none.",
        "both",
        edits(
            onnx.weights_outside,
            in_xml(ir.weights_outside),
            coreml.weights_outside,
            litert=lite.weights_outside,
        ),
        rule=REFUSED,
    ),
    file(
        "weights-of-another-type",
        "A bias is declared as integers.",
        by_format("parity", coreml="both"),
        edits(
            onnx.weights_of_another_type,
            in_xml(ir.weights_of_another_type),
            coreml.weights_of_another_type,
            litert=lite.weights_of_another_type,
        ),
        rule=REFUSED,
    ),
    file(
        "cut-in-half",
        "Half of the graph is missing.",
        "both",
        everywhere(raw.cut_in_half),
        rule=REFUSED,
    ),
    file("emptied", "The file is empty.", "both", everywhere(raw.emptied), rule=REFUSED),
    file(
        "weights-cut",
        "The end of the weights is missing.",
        "both",
        {
            **everywhere(raw.weights_cut, "openvino", "coreml"),
            **edits(litert=lite.weights_cut),
        },
        rule=REFUSED,
    ),
    file(
        "weights-missing",
        "The weights are missing.",
        "both",
        everywhere(raw.weights_missing, "openvino", "coreml"),
        rule=REFUSED,
    ),
    file(
        "weights-shifted",
        "The weights stand four bytes before their place.",
        "both",
        everywhere(raw.weights_shifted, "openvino", "coreml"),
        rule={"openvino": "SD015", "coreml": "refused"},
    ),
    file(
        "weights-left-over",
        "Weights are stored that no operator refers to.",
        "check",
        {
            **everywhere(raw.weights_left_over, "openvino", "coreml"),
            **edits(litert=lite.stale_buffer),
        },
        rule="SD013",
    ),
    file(
        "training-graph-left-in",
        "The file still holds the graph that trained it.",
        "check",
        edits(onnx.training_graph_left_in),
        rule="SD013",
    ),
    file(
        "manifest-missing",
        "The package has no manifest.",
        "both",
        everywhere(raw.manifest_missing, "coreml"),
        rule=REFUSED,
    ),
)

ATTRIBUTES = (
    file(
        "declared-shape-wrong",
        "A value has another shape than declared.",
        by_format("check", coreml="both"),
        edits(
            onnx.declared_shape_wrong,
            in_xml(ir.declared_shape_wrong),
            coreml.declared_shape_wrong,
            litert=lite.declared_shape_wrong,
        ),
        rule="SD002",
    ),
    file(
        "wrong-groups",
        "A folded convolution is not depthwise.",
        by_format("both", litert="parity"),
        edits(
            onnx.wrong_groups,
            in_xml(ir.wrong_groups),
            coreml.wrong_groups,
            litert=lite.weights_in_another_order,
        ),
        rule="SD017",
    ),
    file(
        "pads-on-one-side",
        "The border is padded at the top and left only.",
        "both",
        edits(onnx.pads_on_one_side, in_xml(ir.pads_on_one_side), coreml.pads_on_one_side),
        rule="SD017",
    ),
    file(
        "dilated",
        "Neighbours are two positions away.",
        "both",
        edits(onnx.dilated, in_xml(ir.dilated), coreml.dilated, litert=lite.dilated),
        rule="SD017",
    ),
    file(
        "softmax-over-positions",
        "The softmax of a slide attention runs over positions.",
        "parity",
        edits(
            onnx.softmax_over_positions,
            in_xml(ir.softmax_over_positions),
            coreml.softmax_over_positions,
            litert=lite.softmax_over_positions,
        ),
    ),
    file(
        "window-softmax-over-queries",
        "The softmax of a window attention runs over queries.",
        "parity",
        edits(
            onnx.window_softmax_over_queries,
            in_xml(ir.window_softmax_over_queries),
            coreml.window_softmax_over_queries,
        ),
    ),
    file(
        "epsilon-everywhere",
        "All normalisations have the epsilon 1e-6, not 1e-5.",
        "both",
        edits(
            onnx.epsilon(1e-6),
            in_xml(ir.epsilon(1e-6)),
            coreml.epsilon(1e-6),
            litert=lite.epsilon(1e-6),
        ),
        rule="SD019",
    ),
    file(
        "epsilon-of-one-norm",
        "The first normalisation of a block has the epsilon 1e-3.",
        "both",
        edits(
            onnx.epsilon(1e-3, 1),
            in_xml(ir.epsilon(1e-3, 1)),
            coreml.epsilon(1e-3, 1),
            litert=lite.epsilon(1e-3, 1),
        ),
        rule="SD019",
    ),
    file(
        "epsilon-of-an-inner-norm",
        "A normalisation deep inside has the epsilon 1e-6.",
        "check",
        edits(
            onnx.epsilon(1e-6, 8),
            in_xml(ir.epsilon(1e-6, 8)),
            coreml.epsilon(1e-6, 8),
            litert=lite.epsilon(1e-6, 8),
        ),
        rule="SD019",
    ),
    file(
        "epsilon-outside-the-root",
        "Epsilon is added to the deviation, not to the variance.",
        "both",
        edits(openvino=in_xml(ir.epsilon_outside_the_root)),
        rule="SD019",
    ),
    file(
        "tanh-gelu",
        "GELU is approximated.",
        "parity",
        edits(onnx.tanh_gelu, in_xml(ir.tanh_gelu), coreml.tanh_gelu, litert=lite.tanh_gelu),
    ),
    file(
        "residual-subtracted",
        "A residual sum became a difference.",
        "parity",
        edits(
            onnx.residual_subtracted,
            in_xml(ir.residual_subtracted),
            coreml.residual_subtracted,
            litert=lite.residual_subtracted,
        ),
    ),
    file(
        "values-read-the-keys",
        "The values' convolution reads the keys' map.",
        "both",
        edits(
            onnx.values_read_the_keys,
            in_xml(ir.values_read_the_keys),
            coreml.values_read_the_keys,
            litert=lite.values_read_the_keys,
        ),
        rule="SD013",
    ),
    file(
        "nodes-reversed",
        "Operators stand in reverse order.",
        by_format("check", coreml="both"),
        edits(onnx.nodes_reversed, None, coreml.nodes_reversed, litert=lite.nodes_reversed),
        rule="SD001",
    ),
    file(
        "reads-what-nothing-computes",
        "An operator reads a value that does not exist.",
        "both",
        edits(
            onnx.reads_what_nothing_computes,
            in_xml(ir.reads_what_nothing_computes),
            coreml.reads_what_nothing_computes,
            litert=lite.reads_what_nothing_computes,
        ),
        rule="SD001",
    ),
    file(
        "reads-past-the-tensors",
        "An operator reads a tensor of a number that the file does not have.",
        "both",
        edits(litert=lite.reads_past_the_tensors),
        rule=REFUSED,
    ),
    file(
        "activation-added",
        "A convolution cuts off what is negative.",
        "parity",
        edits(litert=lite.activation_added),
    ),
    file(
        "product-transposed",
        "A product of a window attention reads its keys the other way round.",
        "both",
        edits(litert=lite.product_transposed),
        rule="SD002",
    ),
    file(
        "edge-lost",
        "An operator lost its input.",
        "both",
        edits(openvino=in_xml(ir.edge_lost)),
        rule="SD001",
    ),
)

FILES = (*OPERATORS, *INTERFACE, *STORED, *ATTRIBUTES)
