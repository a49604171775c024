"""The law table: every fusion against every law."""

import keras

from mmkeras import fusion
from mmkeras.testing.fusion import EXPORT_LAWS, LAWS, law_results


def every_fusion():
    """Dict, name -> a small `Fusion`: every fusion of mmkeras, in its main forms."""
    small = {"units": 4, "heads": 2}
    return {
        "Concat": fusion.Concat(),
        "Concat token": fusion.Concat(missing="token"),
        "Concat normalized": fusion.Concat(normalize="layer", dropout=0.2),
        "Add": fusion.Add(4),
        "WeightedSum": fusion.WeightedSum(4),
        "WeightedSum per example": fusion.WeightedSum(4, per_example=True),
        "Gated": fusion.GatedFusion(4),
        "Gated one gate": fusion.GatedFusion(4, per_unit=False, dropout=0.2),
        "Gated normalized": fusion.GatedFusion(4, normalize="layer"),
        "Gated equal length": fusion.GatedFusion(4, normalize="length"),
        "GMU": fusion.GMU(4),
        "Mean": fusion.Mean(4),
        "Max": fusion.Max(4),
        "Product": fusion.Product(4),
        "FiLM": fusion.FiLM("photo", 4),
        "MultiplicativeInteractions": fusion.MultiplicativeInteractions(4, width=3),
        "TensorFusion": fusion.TensorFusion(4, width=2),
        "LowRankFusion": fusion.LowRankFusion(4),
        "FactorizedBilinear": fusion.FactorizedBilinear(4),
        "MCB": fusion.MCB(7),
        "LateAverage": fusion.LateAverage(4),
        "LateWeighted": fusion.LateWeighted(4),
        "LateProduct": fusion.LateProduct(4),
        "LateMLP": fusion.LateMLP(4, hidden=(8,)),
        "CrossAttentionFusion": fusion.CrossAttentionFusion(**small, layers=1),
        "TransformerFusion": fusion.TransformerFusion(
            **small, layers=1, normalize="layer", dropout=0.2
        ),
        "MulT": fusion.MulT(**small, layers=1),
        "Bottleneck without": fusion.BottleneckFusion(**small, layers=1, bottlenecks=0),
        "BottleneckFusion": fusion.BottleneckFusion(**small, bottlenecks=2),
        "PerceiverFusion": fusion.PerceiverFusion(**small, layers=1, latents=3),
    }


def law_table(fusions=None, modalities=(1, 2, 3, 5), export=True, tokens=None):
    """Checks fusions against every law; the same checks as `check_fusion`.

    Args:
        fusions: optional dict, name -> `Fusion`; `every_fusion()` where None.
        modalities: as `check_fusion`.
        export: Boolean, whether to check XLA, SavedModel and TFLite as well. The latter
            two are TensorFlow's: on another backend XLA alone is checked.
        tokens: as `check_fusion`.

    Yields:
        Pairs: name of the fusion, and a dict, law -> None or the AssertionError.
    """
    export = export_laws() if export else ()
    for name, layer in (every_fusion() if fusions is None else fusions).items():
        yield name, dict(law_results(layer, modalities, None, export, tokens))


def export_laws():
    """Names of the laws on compiling and exporting that this backend can keep."""
    if keras.backend.backend() == "tensorflow":
        return tuple(EXPORT_LAWS)
    return ("XLA",)


def columns(export=True):
    """Names of the laws in the table, in its order."""
    return (*LAWS, *(export_laws() if export else ()))
